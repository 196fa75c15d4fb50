// netboot/fleet/vips.ts - who holds which virtual address, by what nodes report of their interfaces and by who answers ARP.
//
// Owns: the holders of each VIP of the site, and when two are an alarm. Does not own: what is claimed (site/balancers.ts),
// reports (reports.ts), asking the wire (netboot/arp.io.ts), VRRP itself.
//
// A node that was switched off goes on "holding" in its last report. So two holders are an alarm only when both have said
// so, without a gap, for longer than three advertisement intervals: that takes a report of each that is so much younger
// than the later claim. Source: RFC 3768 (Master_Down_Interval is three intervals and the skew). Pure.

import type { Ipv4Address } from '../../formats/ipv4.ts';
import type { MacAddress } from '../../formats/mac.ts';
import type { States } from './pools.ts';
import type { Site } from '../site/site.ts';

type Holder = {
  readonly node: string;
  readonly interface: string;
  /** Milliseconds since 1970: since when it says so, and when it last did. */
  readonly sinceMs: number;
  readonly saidAtMs: number;
};

export type VipView = {
  readonly vip: Ipv4Address;
  readonly profile: string;
  readonly vrid: number;
  /** The latest to claim it first. */
  readonly holders: readonly Holder[];
  /** What is wrong, in words. */
  readonly alarm: string | undefined;
};

/** A VIP, and who answered for it on its wire. */
export type AnsweredVip = VipView & {
  /** Undefined where its wire could not be asked: no served interface is on it. */
  readonly answers: readonly { readonly mac: MacAddress; readonly node: string | undefined }[] | undefined;
};

const INTERVALS = 3;

/** Every VIP of the site, sorted by profile and address. */
export function vipsOf(site: Site, states: States): VipView[] {
  return [...site.balancers.values()]
    .flatMap(({ profile, vips, vrid, advertIntervalS }) =>
      vips.map((vip): VipView => {
        const holders = holdersOf(vip, states);
        return { vip, profile, vrid, holders, alarm: alarmOf(vip, holders, advertIntervalS) };
      }),
    )
    .sort((a, b) => (`${a.profile} ${a.vip}` < `${b.profile} ${b.vip}` ? -1 : 1));
}

function holdersOf(vip: Ipv4Address, states: States): Holder[] {
  const holders: Holder[] = [];
  for (const { node, report } of states.values()) {
    if (report === undefined) continue;
    const held = report.report.addresses.find((one) => one.address === vip && one.interface !== 'lo');
    if (held === undefined) continue;
    const sinceMs = report.sinceMs[vip] ?? report.atMs;
    holders.push({ node, interface: held.interface, sinceMs, saidAtMs: report.atMs });
  }
  return holders.sort((a, b) => b.sinceMs - a.sinceMs || (a.node < b.node ? -1 : 1));
}

function alarmOf(vip: Ipv4Address, holders: readonly Holder[], advertIntervalS: number): string | undefined {
  for (const [index, one] of holders.entries()) {
    for (const other of holders.slice(index + 1)) {
      const togetherMs = Math.min(one.saidAtMs, other.saidAtMs) - Math.max(one.sinceMs, other.sinceMs);
      if (togetherMs <= INTERVALS * advertIntervalS * 1000) continue;
      const names = [one.node, other.node].sort().join(' and ');
      return `${names} both hold ${vip} for ${Math.round(togetherMs / 1000)} s: they do not hear each other's VRRP`;
    }
  }
  return undefined;
}

/**
 * Adds who answered for each VIP. Two that answer are wrong at once: either two masters, or a real server of a direct
 * service whose ARP is not silent.
 *
 * @param heard by VIP, where its wire could be asked.
 */
export function withAnswers(
  views: readonly VipView[],
  heard: ReadonlyMap<Ipv4Address, readonly MacAddress[]>,
  site: Site,
): AnsweredVip[] {
  return views.map((view) => {
    const nameOf = (one: { readonly mac: MacAddress; readonly node: string | undefined }): string =>
      one.node ?? one.mac;
    const answers = heard
      .get(view.vip)
      ?.map((mac) => ({ mac, node: site.byMac.get(mac)?.name }))
      .sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
    const names = (answers ?? []).map(nameOf);
    const alarm = names.length > 1 ? `${names.join(' and ')} both answer ARP for ${view.vip}` : undefined;
    return { ...view, answers, alarm: view.alarm ?? alarm };
  });
}

/** The VIPs that a node reports to hold. */
export function vipsHeldBy(site: Site, states: States, node: string): Ipv4Address[] {
  return vipsOf(site, states).flatMap(({ vip, holders }) => (holders.some((one) => one.node === node) ? [vip] : []));
}

//! The built-in pod network of one node: a bridge, a veth pair for each pod, addresses from a pool, masquerade and host
//! ports. Everything through netlink, in this process.
//!
//! What is allocated is written down before it is made, one file for each pod, so a killed daemon loses and leaks
//! nothing. A pod that leaves is taken off the host ports at once; its veth ends with its network namespace, which the
//! kernel does in its own time, and its address and host ports are given out again only when the veth is gone.

mod config;
mod error;
mod forwarding;
mod pool;
mod ports;
mod record;
mod subnet;
mod subnets;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use config::BridgeConfig;
pub use error::Error;
use record::{Phase, Record, Store};
pub use subnet::{InvalidSubnet, Subnet};
use subnets::Subnets;

use super::link::{self, Link, Veth};
use super::netlink::Socket;
use super::{Attached, POD_INTERFACE, PodNetwork, conntrack, netns, shaping};

const ALIAS: &str = "corten:";

/// The built-in bridge, opened. It can be shared by threads of the same network namespace; one pod at a time is attached
/// or detached.
#[derive(Debug)]
pub struct Bridge {
    config: BridgeConfig,
    /// Of the bridge and the pods: the configured one, or what the default route had at open.
    mtu: u32,
    directory: PathBuf,
    store: Mutex<Store>,
    /// Locked after the store, for moments.
    subnets: Mutex<Subnets>,
    /// Kept open, because closing it costs a grace period (10 ms). Locked after the store.
    nftables: Mutex<Socket>,
}

impl Bridge {
    /// Creates the bridge device and the nftables table where they are missing, and reads what is allocated from the
    /// files under `state_dir`.
    ///
    /// Turns on IPv4 forwarding (and IPv6 forwarding where an IPv6 subnet is configured) on this host.
    pub fn open(config: BridgeConfig, state_dir: &Path) -> Result<Self, Error> {
        config.validate()?;
        let nftables = Mutex::new(Socket::netfilter()?);
        let mut socket = Socket::route()?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => forwarding::mtu_of_default_route(&mut socket)?,
        };
        let store = Store::open(state_dir)?;
        let subnets = Mutex::new(Subnets::open(state_dir, &config.subnets, &store)?);
        let bridge =
            Bridge { store: Mutex::new(store), subnets, directory: state_dir.to_owned(), nftables, config, mtu };
        let store = bridge.lock();
        bridge.ensure_link(&mut socket)?;
        // Again for one that was there: whoever made it may have been killed before it was done.
        bridge.set_up_link(&mut socket)?;
        bridge.install_table(&store)?;
        drop(store);
        Ok(bridge)
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }

    /// The subnets that new pods get their addresses from.
    pub fn subnets(&self) -> Vec<Subnet> {
        self.served().current
    }

    /// Has new pods get their addresses from other subnets, also after the bridge is opened anew, unless its configuration
    /// has other ones then. Pods that there are keep their addresses: the bridge serves the subnets that they are in, too.
    ///
    /// # Errors
    /// [`Error::Invalid`] for subnets that the configuration could not have, or whose gateway is a pod's address.
    pub fn set_subnets(&self, wanted: &[Subnet]) -> Result<(), Error> {
        BridgeConfig { subnets: wanted.to_vec(), ..self.config.clone() }.validate()?;
        let store = self.lock();
        let before = self.served();
        if before.current == wanted {
            return Ok(());
        }
        if let Some(subnet) = wanted.iter().find(|subnet| subnets::addresses(&store).any(|ip| ip == subnet.gateway())) {
            let reason = format!("its first address {} is the bridge's, and a pod has it", subnet.gateway());
            return Err(Error::Invalid { key: "subnets", value: subnet.to_string(), reason });
        }
        let after = before.moved_to(wanted, &store);
        after.write(&self.directory)?;
        *self.subnets.lock().unwrap_or_else(PoisonError::into_inner) = after.clone();
        let mut socket = Socket::route()?;
        let moved = self.ensure_link(&mut socket).and_then(|_| self.set_up_link(&mut socket)).and_then(|bridge| {
            self.install_table(&store)?;
            self.give_up(&mut socket, &bridge, &before, &after)
        });
        if moved.is_err() {
            // Best effort: an address more on the bridge does no harm, and the first error is the one to tell.
            let _ = before.write(&self.directory);
            *self.subnets.lock().unwrap_or_else(PoisonError::into_inner) = before;
            let _ = self.install_table(&store);
        }
        moved
    }

    /// Takes the addresses of subnets that are served no more off the bridge.
    fn give_up(&self, socket: &mut Socket, bridge: &Link, before: &Subnets, after: &Subnets) -> Result<(), Error> {
        let served = after.served();
        for subnet in before.served().iter().filter(|subnet| !served.contains(subnet)) {
            link::remove_address(socket, bridge.index, subnet.gateway(), subnet.prefix())?;
        }
        Ok(())
    }

    fn served(&self) -> Subnets {
        self.subnets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the pod its interface, addresses, routes and host ports. The namespace must exist.
    ///
    /// A host port that another pod holds, or an exhausted pool, is an error before anything is made. After any other
    /// error everything is undone. Attaching an id anew undoes what it had.
    pub fn attach(&self, pod: &PodNetwork) -> Result<Attached, Error> {
        record::validate_id(&pod.id)?;
        let host_ports = ports::normalize(&pod.host_ports)?;
        let mac = pod.mac.as_deref().map(config::parse_mac).transpose()?;
        let namespace = netns::open(&pod.netns)?;
        let mut store = self.lock();
        let mut socket = Socket::route()?;
        if let Some(earlier) = store.get(&pod.id).cloned() {
            self.evict(&mut store, &mut socket, &earlier)?;
        }
        self.settle(&mut store, &mut socket)?;
        self.free_ports(&mut store, &mut socket, &host_ports)?;
        let bridge = self.ensure_link(&mut socket)?;
        let ips = self.allocate(&mut store, &mut socket)?;
        let mac = mac.unwrap_or_else(|| config::mac_of(&ips));
        let record = Record::new(pod, link_name(&pod.id), ips, host_ports);
        store.put(&record)?;
        let connected = self
            .connect(&mut socket, &bridge, &record, mac, namespace.as_fd(), pod)
            .and_then(|()| self.open_ports(&store, &record));
        if let Err(error) = connected {
            // Best effort: what is left is collected later, and the first error is the one to tell.
            let _ = self.evict(&mut store, &mut socket, &record);
            return Err(error);
        }
        Ok(Attached {
            interface: POD_INTERFACE.to_owned(),
            ips: record.ips,
            mac: Some(config::format_mac(mac)),
            gateways: self.subnets().iter().map(Subnet::gateway).collect(),
            dns: super::Dns::default(),
        })
    }

    /// Takes the pod off its host ports, and lets its address go as soon as its veth is gone.
    ///
    /// Does not wait for that: the veth ends with the pod's namespace, which the caller removes next. Idempotent.
    pub fn detach(&self, id: &str) -> Result<(), Error> {
        record::validate_id(id)?;
        let mut store = self.lock();
        let mut socket = Socket::route()?;
        match store.get(id).cloned() {
            Some(mut record) => {
                self.close_ports_of(&record)?;
                record.phase = Phase::Leaving;
                store.put(&record)?;
            }
            None => {
                self.close_ports(|owner| owner != id)?;
                self.delete_own_link(&mut socket, id)?;
            }
        }
        self.settle(&mut store, &mut socket)
    }

    /// Repairs the bridge device and the table if somebody removed them, and returns warnings about what may keep
    /// pods from communicating: another table that drops forwarded packets, a route that overlaps.
    pub fn status(&self) -> Result<Vec<String>, Error> {
        let store = self.lock();
        let mut socket = Socket::route()?;
        let bridge = self.ensure_link(&mut socket)?;
        let table_exists = super::nft::table_exists(&mut self.nftables(), &self.config.name)?;
        if !table_exists {
            self.install_table(&store)?;
        }
        drop(store);
        let mut warnings = forwarding::overlapping_routes(&mut socket, &self.served().served(), bridge.index)?;
        warnings.extend(forwarding::dropped_by_others(&mut self.nftables(), &self.config.name)?);
        Ok(warnings)
    }

    /// Removes what belongs to none of these pods: links, addresses, host ports. Returns the ids of those it removed.
    pub fn collect(&self, live: &[String]) -> Result<Vec<String>, Error> {
        let mut store = self.lock();
        let mut socket = Socket::route()?;
        let is_live = |id: &str| live.iter().any(|live| live == id);
        let mut collected = Vec::new();
        for record in store.all().filter(|record| !is_live(&record.id)).cloned().collect::<Vec<_>>() {
            self.evict(&mut store, &mut socket, &record)?;
            collected.push(record.id);
        }
        for link in self.ports_of_bridge(&mut socket)? {
            if let Some(id) = link.alias.as_deref().and_then(|alias| alias.strip_prefix(ALIAS))
                && !is_live(id)
            {
                link::delete_link(&mut socket, &link.name)?;
                collected.push(id.to_owned());
            }
        }
        self.close_ports(is_live)?;
        Ok(collected)
    }

    /// Removes the bridge and the table if no pod is attached. True where they are gone.
    pub fn close(&self) -> Result<bool, Error> {
        let mut store = self.lock();
        let mut socket = Socket::route()?;
        let leaving: Vec<Record> = store.all().filter(|r| r.phase == Phase::Leaving).cloned().collect();
        for record in leaving {
            self.evict(&mut store, &mut socket, &record)?;
        }
        if store.all().next().is_some() || !self.ports_of_bridge(&mut socket)?.is_empty() {
            return Ok(false);
        }
        table::remove(&mut self.nftables(), &self.config.name)?;
        link::delete_link(&mut socket, &self.config.name)?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // What is in memory mirrors the files and is written after them, so a panic elsewhere leaves it usable.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nftables(&self) -> MutexGuard<'_, Socket> {
        self.nftables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(
        &self,
        socket: &mut Socket,
        bridge: &Link,
        record: &Record,
        mac: [u8; 6],
        namespace: std::os::fd::BorrowedFd<'_>,
        pod: &PodNetwork,
    ) -> Result<(), Error> {
        let veth = Veth {
            name: &record.link,
            bridge: bridge.index,
            mtu: self.mtu,
            peer: POD_INTERFACE,
            peer_mac: mac,
            peer_namespace: namespace,
        };
        link::create_veth(socket, &veth)?;
        link::set_port(socket, &record.link, &format!("{ALIAS}{}", record.id))?;
        if let Some(rate) = pod.bandwidth.and_then(|limits| limits.ingress) {
            let missing = || Error::LinkMissing { link: record.link.clone() };
            let port = link::find_link(socket, &record.link)?.ok_or_else(missing)?;
            shaping::limit(socket, port.index, rate)?;
        }
        let egress = pod.bandwidth.and_then(|limits| limits.egress);
        netns::enter(&pod.netns, || self.configure_pod_end(&record.ips, egress))?
    }

    fn configure_pod_end(&self, ips: &[IpAddr], egress: Option<u64>) -> Result<(), Error> {
        forwarding::ignore_router_advertisements(POD_INTERFACE)?;
        let mut socket = Socket::route()?;
        let missing = || Error::LinkMissing { link: POD_INTERFACE.to_owned() };
        let pod_end = link::find_link(&mut socket, POD_INTERFACE)?.ok_or_else(missing)?;
        link::bring_up(&mut socket, pod_end.index)?;
        for (ip, subnet) in ips.iter().zip(&self.subnets()) {
            link::add_address(&mut socket, pod_end.index, *ip, subnet.prefix())?;
            link::add_default_route(&mut socket, pod_end.index, subnet.gateway())?;
        }
        egress.map_or(Ok(()), |rate| Ok(shaping::limit(&mut socket, pod_end.index, rate)?))
    }

    /// Finds the bridge device, or makes it, with its addresses and this host's forwarding.
    fn ensure_link(&self, socket: &mut Socket) -> Result<Link, Error> {
        let name = &self.config.name;
        match link::find_link(socket, name)? {
            Some(found) if found.kind.as_deref() == Some("bridge") => return Ok(found),
            Some(_) => return Err(Error::NotABridge { name: name.clone() }),
            None => {}
        }
        let gateways: Vec<IpAddr> = self.subnets().iter().map(Subnet::gateway).collect();
        link::create_bridge(socket, name, config::mac_of(&gateways))?;
        let made = self.set_up_link(socket);
        if made.is_err() {
            // Best effort: half a bridge would be taken for a whole one.
            let _ = link::delete_link(socket, name);
        }
        made
    }

    fn set_up_link(&self, socket: &mut Socket) -> Result<Link, Error> {
        let name = &self.config.name;
        let missing = || Error::LinkMissing { link: name.clone() };
        let found = link::find_link(socket, name)?.ok_or_else(missing)?;
        link::set_mtu(socket, found.index, self.mtu)?;
        link::bring_up(socket, found.index)?;
        let subnets = self.served().served();
        for subnet in &subnets {
            link::add_address(socket, found.index, subnet.gateway(), subnet.prefix())?;
        }
        forwarding::ignore_router_advertisements(name)?;
        forwarding::turn_on(name, &subnets)?;
        self.adopt_ports(socket, found.index)?;
        Ok(found)
    }

    /// Pods outlive a bridge that somebody deleted; the new one takes their links over.
    fn adopt_ports(&self, socket: &mut Socket, bridge: u32) -> Result<(), Error> {
        let orphans = link::list_links(socket)?.into_iter().filter(|link| link.master.is_none());
        for link in orphans {
            if let Some(alias) = link.alias.as_deref().filter(|alias| alias.starts_with(ALIAS)) {
                link::set_master(socket, &link.name, bridge)?;
                link::set_port(socket, &link.name, alias)?;
            }
        }
        Ok(())
    }

    fn install_table(&self, store: &Store) -> Result<(), Error> {
        let attached = store.all().filter(|record| record.phase == Phase::Attached);
        let elements: Vec<table::Placed> =
            attached.flat_map(|r| table::elements(&r.id, &r.host_ports, &r.ips)).collect();
        Ok(table::install(&mut self.nftables(), &self.config.name, &self.served().served(), &elements)?)
    }

    fn open_ports(&self, store: &Store, record: &Record) -> Result<(), Error> {
        let elements = table::elements(&record.id, &record.host_ports, &record.ips);
        let added = table::add(&mut self.nftables(), &self.config.name, &elements);
        match added {
            // Somebody flushed the whole ruleset: put ours back, this pod's ports included.
            Err(e) if e.is(libc::ENOENT) => self.install_table(store)?,
            done => done?,
        }
        Ok(conntrack::forget_udp(&mut self.nftables(), &record.host_ports)?)
    }

    fn close_ports_of(&self, record: &Record) -> Result<(), Error> {
        let elements = table::elements(&record.id, &record.host_ports, &record.ips);
        if record.phase == Phase::Leaving || elements.is_empty() {
            return Ok(());
        }
        let closed = table::subtract(&mut self.nftables(), &self.config.name, &elements);
        match closed {
            // Some are gone already: look which are not.
            Err(e) if e.is(libc::ENOENT) => self.close_ports(|owner| owner != record.id),
            done => Ok(done?),
        }
    }

    fn close_ports(&self, wanted: impl Fn(&str) -> bool) -> Result<(), Error> {
        Ok(table::retain(&mut self.nftables(), &self.config.name, wanted)?)
    }

    /// Forgets the leaving pods whose veth is gone.
    fn settle(&self, store: &mut Store, socket: &mut Socket) -> Result<(), Error> {
        let leaving: Vec<Record> = store.all().filter(|r| r.phase == Phase::Leaving).cloned().collect();
        for record in leaving {
            if link::find_link(socket, &record.link)?.is_none() {
                store.remove(&record.id)?;
            }
        }
        Ok(())
    }

    /// Removes all that a pod has, now, and waits for it.
    fn evict(&self, store: &mut Store, socket: &mut Socket, record: &Record) -> Result<(), Error> {
        self.close_ports_of(record)?;
        link::delete_link(socket, &record.link)?;
        store.remove(&record.id)
    }

    /// Deletes the link of a pod that nothing is written about, if the link is ours.
    fn delete_own_link(&self, socket: &mut Socket, id: &str) -> Result<(), Error> {
        let name = link_name(id);
        let found = link::find_link(socket, &name)?;
        if found.is_some_and(|link| link.alias.as_deref() == Some(&format!("{ALIAS}{id}"))) {
            link::delete_link(socket, &name)?;
        }
        Ok(())
    }

    fn ports_of_bridge(&self, socket: &mut Socket) -> Result<Vec<Link>, Error> {
        let Some(bridge) = link::find_link(socket, &self.config.name)? else { return Ok(Vec::new()) };
        Ok(link::list_links(socket)?.into_iter().filter(|link| link.master == Some(bridge.index)).collect())
    }

    /// Makes sure that nobody holds these host ports; pods that are leaving are made to.
    fn free_ports(&self, store: &mut Store, socket: &mut Socket, wanted: &[super::HostPort]) -> Result<(), Error> {
        while let Some((port, holder)) = ports::conflict(wanted, store.all()) {
            if holder.phase == Phase::Attached {
                return Err(Error::HostPortTaken { port: ports::describe(&port), holder: holder.id.clone() });
            }
            let holder = holder.clone();
            self.evict(store, socket, &holder)?;
        }
        Ok(())
    }

    /// One address of each subnet. Where a pool is exhausted, pods that are leaving are made to.
    fn allocate(&self, store: &mut Store, socket: &mut Socket) -> Result<Vec<IpAddr>, Error> {
        let subnets = self.subnets();
        if let Some(ips) = pool::next(&subnets, store) {
            return Ok(ips);
        }
        let leaving: Vec<Record> = store.all().filter(|r| r.phase == Phase::Leaving).cloned().collect();
        for record in leaving {
            self.evict(store, socket, &record)?;
        }
        let exhausted = || Error::PoolExhausted {
            subnets: subnets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            pods: store.all().count(),
        };
        pool::next(&subnets, store).ok_or_else(exhausted)
    }
}

/// The host's end of a pod's veth: derived from the id, and at most 15 bytes.
fn link_name(id: &str) -> String {
    format!("veth{}", id.chars().take(11).collect::<String>())
}

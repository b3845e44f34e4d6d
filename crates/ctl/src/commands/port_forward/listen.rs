//! The local end of forwarded ports.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::{
    error::Error,
    output,
    remote::ports::{Address, Ports},
};

/// How long accepting rests after an error, which may be that there are no more descriptors.
const REST: Duration = Duration::from_millis(100);

/// A port that is listened on.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    /// Where.
    pub address: SocketAddr,
    /// The pod's port.
    pub remote: u16,
}

/// Listens on every port at every address.
///
/// # Errors
/// [`Error::Condition`] at the first that cannot be had.
pub(super) async fn all(addresses: &[Address], ports: &[Ports]) -> Result<Vec<Listener>, Error> {
    let mut listeners = Vec::new();
    for ports in ports {
        // A port that may be any is the same at every address.
        let mut local = ports.local;
        for address in addresses {
            let bound = any(&address.alternatives(), &mut local, ports.remote.get()).await;
            listeners.extend(bound.map_err(|(ip, error)| {
                let address = SocketAddr::new(ip, ports.local);
                Error::condition(format!("listen on {address}"), error.to_string())
            })?);
        }
    }
    Ok(listeners)
}

/// Listens at as many of the addresses as possible, which must be at least one.
async fn any(alternatives: &[IpAddr], local: &mut u16, remote: u16) -> Result<Vec<Listener>, (IpAddr, io::Error)> {
    let (mut listeners, mut failed) = (Vec::new(), None);
    for ip in alternatives {
        match bind(SocketAddr::new(*ip, *local), remote).await {
            Ok(listener) => {
                *local = listener.address.port();
                listeners.push(listener);
            }
            Err(error) => failed = failed.or(Some((*ip, error))),
        }
    }
    match failed {
        Some(failed) if listeners.is_empty() => Err(failed),
        _ => Ok(listeners),
    }
}

async fn bind(address: SocketAddr, remote: u16) -> io::Result<Listener> {
    let listener = TcpListener::bind(address).await?;
    Ok(Listener { address: listener.local_addr()?, listener, remote })
}

/// Every connection that comes, with the remote and the local port. It ends when the receiver goes.
pub(super) fn accept(listeners: Vec<Listener>) -> mpsc::Receiver<(TcpStream, u16, u16)> {
    let (sender, receiver) = mpsc::channel(1);
    for Listener { listener, address, remote } in listeners {
        let sender = sender.clone();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = sender.closed() => return,
                };
                match accepted {
                    Ok((stream, _)) => {
                        let _ = sender.send((stream, remote, address.port())).await;
                    }
                    Err(error) => {
                        output::note(&format!("accept on {address}: {error}"));
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::net::Ipv4Addr;

    use super::*;

    fn ports(text: &str) -> Vec<Ports> {
        vec![text.parse().unwrap()]
    }

    #[tokio::test]
    async fn any_port_is_the_same_one_at_every_address() {
        let addresses =
            [Address::Ip(Ipv4Addr::new(127, 0, 0, 1).into()), Address::Ip(Ipv4Addr::new(127, 0, 0, 2).into())];
        let listeners = all(&addresses, &ports(":80")).await.unwrap();
        assert_eq!(listeners.len(), 2);
        assert_eq!(listeners[0].address.port(), listeners[1].address.port());
        assert_ne!(listeners[0].address.port(), 0);
    }

    #[tokio::test]
    async fn one_address_of_localhost_is_enough_but_each_named_one_is_needed() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let v6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        let wanted = ports(&format!("{port}:80"));
        let localhost = all(&[Address::Localhost], &wanted).await;
        assert_eq!(localhost.is_ok(), v6);
        let named = all(&[Address::Ip(Ipv4Addr::LOCALHOST.into())], &wanted).await.unwrap_err().to_string();
        assert!(named.starts_with(&format!("listen on 127.0.0.1:{port}: Address already in use")), "{named}");
    }

    #[tokio::test]
    async fn connections_come_with_their_ports() {
        let addresses = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().unwrap());
        let listeners = all(&addresses, &ports(":53")).await.unwrap();
        let bound: Vec<_> = listeners.iter().map(|listener| listener.address).collect();
        let mut accepted = accept(listeners);
        for address in [bound[0], bound[0], bound[1], bound[0]] {
            let client = TcpStream::connect(address).await.unwrap();
            let (stream, remote, local) = accepted.recv().await.unwrap();
            assert_eq!((remote, local), (53, address.port()));
            assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
        }
    }
}

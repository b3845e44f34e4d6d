//! A sandbox's names, resolver and sysctls.

use corten_cri::v1::*;

use crate::{
    check::checks,
    context::Ctx,
    expect::{equal, holds},
    make::as_in,
    verdict::Checked,
};

checks! {
    "sandboxes/hostname", "PodSandboxConfig.hostname: the host name of the sandbox", [], hostname;
    "sandboxes/dns", "DNSConfig: servers, searches and options of the sandbox's resolv.conf", [], dns;
    "sandboxes/sysctls", "LinuxPodSandboxConfig.sysctls: set in the sandbox's namespaces", [], sysctls;
    "sandboxes/loopback-is-up", "RunPodSandbox: a sandbox with a network of its own has a loopback that works", [], loopback;
    "sandboxes/containers-share-the-network",
        "NamespaceMode POD of the network: the containers of a sandbox reach each other on its loopback", [], shared;
    "sandboxes/log-directory-is-made",
        "PodSandboxConfig.log_directory: the runtime makes it if it is not there", [], log_directory;
}

async fn said(ctx: &Ctx, config: PodSandboxConfig, words: &[&str]) -> Checked<String> {
    let pod = ctx.run_pod(config).await?;
    let (_, output) = ctx.run_to_end(&pod, &as_in(&pod, ctx.container("c", words))).await?;
    Ok(output.stdout)
}

async fn hostname(ctx: Ctx) -> Checked {
    let mut config = ctx.networked_pod("pod")?;
    config.hostname = "a-name-of-its-own".to_owned();
    let seen = said(&ctx, config, &["hostname", "then", "cat", "/etc/hostname"]).await?;
    equal("the kernel's host name and /etc/hostname", seen.as_str(), "a-name-of-its-own\na-name-of-its-own\n")
}

async fn dns(ctx: Ctx) -> Checked {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut config = ctx.networked_pod("pod")?;
    config.dns_config = Some(DnsConfig {
        servers: words(&["10.9.8.7", "10.9.8.6"]),
        searches: words(&["one.example", "two.example"]),
        options: words(&["ndots:5", "timeout:3"]),
    });
    let seen = said(&ctx, config, &["cat", "/etc/resolv.conf"]).await?;
    let lines: Vec<Vec<&str>> = seen.lines().map(|line| line.split_whitespace().collect()).collect();
    for expected in [
        vec!["nameserver", "10.9.8.7"],
        vec!["nameserver", "10.9.8.6"],
        vec!["search", "one.example", "two.example"],
        vec!["options", "ndots:5", "timeout:3"],
    ] {
        holds("/etc/resolv.conf", lines.contains(&expected), expected.join(" "), &seen)?;
    }
    let servers = lines.iter().filter(|line| line.first() == Some(&"nameserver")).count();
    equal("servers in /etc/resolv.conf", servers, 2)
}

async fn sysctls(ctx: Ctx) -> Checked {
    let mut config = ctx.networked_pod("pod")?;
    let sysctls = [("net.ipv4.ip_local_port_range", "20000 30000"), ("kernel.shm_rmid_forced", "1")];
    config.linux.get_or_insert_default().sysctls =
        sysctls.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let files = ["cat", "/proc/sys/net/ipv4/ip_local_port_range", "/proc/sys/kernel/shm_rmid_forced"];
    let seen = said(&ctx, config, &files).await?;
    let words: Vec<&str> = seen.split_whitespace().collect();
    equal("the sysctls in the sandbox", words, vec!["20000", "30000", "1"])
}

async fn loopback(ctx: Ctx) -> Checked {
    let pod = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let config = as_in(&pod, ctx.container("c", &["serve", "8080", "127.0.0.1"]));
    let id = ctx.start(&pod, &config).await?;
    ctx.logged(&pod, &config, "ready").await?;
    equal("what comes back", ctx.said(&id, &["connect", "127.0.0.1:8080", "hello"]).await?.as_str(), "hello")
}

async fn shared(ctx: Ctx) -> Checked {
    let pod = ctx.run_pod(ctx.networked_pod("pod")?).await?;
    let server = as_in(&pod, ctx.container("server", &["serve", "8080"]));
    ctx.start(&pod, &server).await?;
    ctx.logged(&pod, &server, "ready").await?;
    let client = as_in(&pod, ctx.container("client", &["connect", "127.0.0.1:8080", "hello"]));
    let (status, output) = ctx.run_to_end(&pod, &client).await?;
    equal(format!("another container's connection: {}", output.stderr), status.exit_code, 0)?;
    equal("what comes back", output.stdout.as_str(), "hello")
}

async fn log_directory(ctx: Ctx) -> Checked {
    let mut config = ctx.pod("pod")?;
    config.log_directory = ctx.directory()?.join("made/by/the/runtime").display().to_string();
    equal(
        "what a container there logged",
        said(&ctx, config, &["say", "logged\\n", "", "0"]).await?.as_str(),
        "logged\n",
    )
}

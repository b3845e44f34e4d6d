//! What a runtime does with values of enums that nobody knows: what a newer kubelet may send.
//!
//! A value that is taken for another, or ignored, runs a pod otherwise than asked in silence. So a request that makes
//! something is to be refused, and a list is refused or has nothing in it.

use corten_cri::v1::*;
use corten_validate::{
    check::Check,
    context::Ctx,
    make::{namespace_options, security},
    verdict::{Checked, Refusal, Stop},
};
use tonic::Code;

/// A value that no enum has.
const UNKNOWN: i32 = 100;

/// The checks, for a newer kubelet against whatever runtime.
pub(super) const CHECKS: [Check; 3] = [
    Check {
        name: "newer/unknown-values-in-filters",
        says: "PodSandboxStateValue, ContainerStateValue: a state that the runtime does not know is nothing's state",
        needs: &[],
        run: |ctx| Box::pin(filters(ctx)),
    },
    Check {
        name: "newer/unknown-values-in-pods",
        says: "RunPodSandbox: a value that the runtime does not know is refused, not taken for another",
        needs: &["LinuxSandboxSecurityContext.supplemental_groups_policy"],
        run: |ctx| Box::pin(pods(ctx)),
    },
    Check {
        name: "newer/unknown-values-in-containers",
        says: "CreateContainer: a value that the runtime does not know is refused, not taken for another",
        needs: &["ContainerConfig.stop_signal"],
        run: |ctx| Box::pin(containers(ctx)),
    },
];

type Change<C> = (&'static str, fn(&mut C));

/// Every enum in the configuration of a pod.
const OF_PODS: [Change<PodSandboxConfig>; 8] = [
    ("port_mappings.protocol", |config| {
        config.port_mappings = vec![PortMapping { protocol: UNKNOWN, container_port: 80, ..Default::default() }];
    }),
    ("namespace_options.network", |config| namespace_options(config).network = UNKNOWN),
    ("namespace_options.pid", |config| namespace_options(config).pid = UNKNOWN),
    ("namespace_options.ipc", |config| namespace_options(config).ipc = UNKNOWN),
    ("namespace_options.userns_options.mode", |config| {
        namespace_options(config).userns_options = Some(UserNamespace { mode: UNKNOWN, ..Default::default() });
    }),
    ("supplemental_groups_policy", |config| pod_security(config).supplemental_groups_policy = UNKNOWN),
    ("seccomp.profile_type", |config| pod_security(config).seccomp = Some(profile())),
    ("apparmor.profile_type", |config| pod_security(config).apparmor = Some(profile())),
];

/// Every enum in the configuration of a container.
const OF_CONTAINERS: [Change<ContainerConfig>; 9] = [
    ("stop_signal", |config| config.stop_signal = UNKNOWN),
    ("mounts.propagation", |config| {
        config.mounts = vec![Mount {
            container_path: "/newer".to_owned(),
            host_path: "/etc".to_owned(),
            readonly: true,
            propagation: UNKNOWN,
            ..Default::default()
        }];
    }),
    ("namespace_options.network", |config| of_container(config).network = UNKNOWN),
    ("namespace_options.pid", |config| of_container(config).pid = UNKNOWN),
    ("namespace_options.ipc", |config| of_container(config).ipc = UNKNOWN),
    ("namespace_options.userns_options.mode", |config| {
        of_container(config).userns_options = Some(UserNamespace { mode: UNKNOWN, ..Default::default() });
    }),
    ("supplemental_groups_policy", |config| security(config).supplemental_groups_policy = UNKNOWN),
    ("seccomp.profile_type", |config| security(config).seccomp = Some(profile())),
    ("apparmor.profile_type", |config| security(config).apparmor = Some(profile())),
];

fn profile() -> SecurityProfile {
    SecurityProfile { profile_type: UNKNOWN, ..Default::default() }
}

fn pod_security(config: &mut PodSandboxConfig) -> &mut LinuxSandboxSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

fn of_container(config: &mut ContainerConfig) -> &mut NamespaceOption {
    security(config).namespace_options.get_or_insert_default()
}

/// That a request was refused for what is in it.
fn refused(what: &str, answer: Result<String, Refusal>) -> Checked {
    let expected = "InvalidArgument, or Unimplemented";
    match answer {
        Err(refusal) if matches!(refusal.code(), Code::InvalidArgument | Code::Unimplemented) => Ok(()),
        Err(refusal) => Err(Stop::failed(what, expected, refusal)),
        Ok(id) => Err(Stop::failed(what, expected, format!("success: {id}"))),
    }
}

async fn pods(ctx: Ctx) -> Checked {
    for (field, change) in OF_PODS {
        let mut config = ctx.networked_pod("pod")?;
        change(&mut config);
        refused(&format!("RunPodSandbox with an unknown {field}"), ctx.try_run(&config).await)?;
    }
    Ok(())
}

async fn containers(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    for (field, change) in OF_CONTAINERS {
        let mut config = ctx.container("container", &["sleep"]);
        change(&mut config);
        refused(&format!("CreateContainer with an unknown {field}"), ctx.try_create(&pod, &config).await)?;
    }
    Ok(())
}

async fn filters(ctx: Ctx) -> Checked {
    let pod = ctx.new_pod().await?;
    ctx.start_sleeper(&pod).await?;
    let state = Some(PodSandboxStateValue { state: UNKNOWN });
    let filter = Some(PodSandboxFilter { state, ..Default::default() });
    let pods = ctx.list_pod_sandbox(ListPodSandboxRequest { filter }).await;
    nothing("ListPodSandbox in an unknown state", pods.map(|answer| answer.items.len()))?;
    let state = Some(ContainerStateValue { state: UNKNOWN });
    let filter = Some(ContainerFilter { state, ..Default::default() });
    let containers = ctx.list_containers(ListContainersRequest { filter }).await;
    nothing("ListContainers in an unknown state", containers.map(|answer| answer.containers.len()))
}

/// That a list was refused, or has nothing in it.
fn nothing(what: &str, answer: Result<usize, Refusal>) -> Checked {
    match answer {
        Ok(0) => Ok(()),
        Ok(more) => Err(Stop::failed(what, "nothing, or InvalidArgument", more)),
        Err(refusal) => refused(what, Err(refusal)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use corten_cri::DESCRIPTORS;
    use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

    use super::*;

    /// The paths of all enums in a message, Windows' left out.
    fn enums(message: &MessageDescriptor, path: &str, found: &mut Vec<String>) {
        for field in message.fields().filter(|field| field.name() != "windows") {
            let path = format!("{path}.{}", field.name());
            match field.kind() {
                Kind::Enum(_) => found.push(path),
                Kind::Message(nested) => enums(&nested, &path, found),
                _ => {}
            }
        }
    }

    #[test]
    fn every_enum_of_a_configuration_is_tried() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let of = |name: &str| {
            let mut found = Vec::new();
            enums(&pool.get_message_by_name(&format!("runtime.v1.{name}")).unwrap(), "", &mut found);
            found
        };
        let pods = OF_PODS.map(|(field, _)| field);
        let containers = OF_CONTAINERS.map(|(field, _)| field);
        for (enums, tried) in [(of("PodSandboxConfig"), &pods[..]), (of("ContainerConfig"), &containers[..])] {
            assert_eq!(enums.len(), tried.len(), "{enums:?}");
            for path in enums {
                assert!(tried.iter().any(|field| path.ends_with(&format!(".{field}"))), "{path}");
            }
        }
    }
}

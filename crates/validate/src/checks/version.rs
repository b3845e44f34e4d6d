//! Version, Status and RuntimeConfig: what a runtime says about itself.

use corten_cri::{ApiVersion, client::raw, v1::*};
use prost::Message;
use tonic::{Code, Status};

use crate::{
    cgroup,
    check::checks,
    context::Ctx,
    expect::{equal, holds, present},
    verdict::Checked,
};

checks! {
    "version/is-complete",
        "VersionResponse: the version of the kubelet's runtime API (0.1.0), the runtime's name, version and API version",
        [], is_complete;
    "version/is-constant", "Version: a runtime says the same whatever version it is asked with", [], is_constant;
    "version/unknown-calls-are-unimplemented",
        "gRPC: a call that the runtime does not have is Unimplemented, by which a newer kubelet knows to do without",
        [], unknown_calls_are_unimplemented;
    "version/unknown-fields-are-ignored",
        "Protocol buffers: fields that the runtime does not know, of any wire type, do not change what a call means",
        [], unknown_fields_are_ignored;
    "status/has-the-required-conditions",
        "RuntimeStatus: RuntimeReady and NetworkReady must be among the conditions; a ready runtime gives no reason",
        [], has_the_required_conditions;
    "status/verbose-adds-information",
        "StatusResponse.info: extra information, returned only when verbose is set", [], verbose_adds_information;
    "status/lists-the-runtime-handlers",
        "StatusResponse.runtime_handlers: the handlers that run pods, with their features; the default one has the empty name",
        ["StatusResponse.runtime_handlers"], lists_the_runtime_handlers;
    "status/tells-the-features",
        "StatusResponse.features: what the runtime supports whatever the handler",
        ["StatusResponse.features"], tells_the_features;
    "runtime-config/names-the-cgroup-driver",
        "RuntimeConfig: the cgroup driver the runtime uses, for the kubelet to use the same, and name cgroups as it wants",
        ["RuntimeService/RuntimeConfig"], names_the_cgroup_driver;
}

async fn is_complete(ctx: Ctx) -> Checked {
    let version = ctx.version(VersionRequest { version: "0.1.0".to_owned() }).await?;
    equal("VersionResponse.version", version.version.as_str(), "0.1.0")?;
    holds("VersionResponse.runtime_name", !version.runtime_name.is_empty(), "a name", &version)?;
    holds("VersionResponse.runtime_version", !version.runtime_version.is_empty(), "a version", &version)?;
    let api = version.runtime_api_version.as_str();
    equal("VersionResponse.runtime_api_version", api, ctx.knowledge().api().name())?;
    equal("VersionResponse, a second time", &version, ctx.runtime_version())
}

async fn is_constant(ctx: Ctx) -> Checked {
    let expected = ctx.runtime_version();
    for asked in ["", "0.1.0", "v1", "no version"] {
        let version = ctx.version(VersionRequest { version: asked.to_owned() }).await?;
        equal(format!("VersionResponse for {asked:?}"), &version, expected)?;
    }
    Ok(())
}

async fn unknown_calls_are_unimplemented(ctx: Ctx) -> Checked {
    for method in ["RuntimeService/NoSuchCall", "ImageService/NoSuchCall", "NoSuchService/Version"] {
        let answer =
            raw::call(&ctx.run().connection, &ApiVersion::V1.path(method), Vec::new(), ctx.run().patience).await;
        let code = answer.as_ref().err().map(Status::code);
        equal(format!("the code of {method}"), code, Some(Code::Unimplemented))?;
    }
    Ok(())
}

async fn unknown_fields_are_ignored(ctx: Ctx) -> Checked {
    let version = VersionRequest { version: "0.1.0".to_owned() }.encode_to_vec();
    let path = ApiVersion::V1.path("RuntimeService/Version");
    // Field 9000 as a number, as text, as four and as eight bytes; before and after the field that is known.
    let unknown: [&[u8]; 4] =
        [b"\xc0\xb2\x04\x01", b"\xc2\xb2\x04\x05newer", b"\xc5\xb2\x04four", b"\xc1\xb2\x04or eight"];
    for field in unknown {
        for message in [[field, &version].concat(), [&version, field].concat()] {
            let answer = raw::call(&ctx.run().connection, &path, message, ctx.run().patience).await;
            let answer = answer.map(|bytes| VersionResponse::decode(&bytes[..]).ok());
            let what = "VersionResponse for a request with an unknown field";
            let expected = Some(ctx.runtime_version().clone());
            holds(what, matches!(&answer, Ok(seen) if *seen == expected), "the same as without it", &answer)?;
        }
    }
    Ok(())
}

async fn has_the_required_conditions(ctx: Ctx) -> Checked {
    let status = present("StatusResponse.status", ctx.status(StatusRequest { verbose: false }).await?.status)?;
    for kind in ["RuntimeReady", "NetworkReady"] {
        let mut found = status.conditions.iter().filter(|condition| condition.r#type == kind);
        let condition = present(format!("the condition {kind}"), found.next())?;
        holds(format!("the condition {kind}"), found.next().is_none(), "one of its kind", &status.conditions)?;
        holds(
            format!("the condition {kind}"),
            condition.status,
            "true, with which the kubelet uses a node",
            condition,
        )?;
        let silent = condition.reason.is_empty() && condition.message.is_empty();
        holds(format!("reason and message of {kind} that holds"), silent, "none", condition)?;
    }
    let named = status.conditions.iter().all(|condition| !condition.r#type.is_empty());
    holds("RuntimeCondition.type", named, "a name of each", &status.conditions)
}

async fn verbose_adds_information(ctx: Ctx) -> Checked {
    let plain = ctx.status(StatusRequest { verbose: false }).await?;
    let verbose = ctx.status(StatusRequest { verbose: true }).await?;
    equal("StatusResponse.info without verbose", plain.info.len(), 0)?;
    holds("StatusResponse.info with verbose", !verbose.info.is_empty(), "something", &verbose.info)?;
    equal("StatusResponse.status with verbose", &verbose.status, &plain.status)?;
    equal("StatusResponse.runtime_handlers with verbose", &verbose.runtime_handlers, &plain.runtime_handlers)?;
    equal("StatusResponse.features with verbose", &verbose.features, &plain.features)
}

async fn lists_the_runtime_handlers(ctx: Ctx) -> Checked {
    let handlers = ctx.status(StatusRequest { verbose: false }).await?.runtime_handlers;
    holds("StatusResponse.runtime_handlers", !handlers.is_empty(), "at least one", &handlers)?;
    let mut names: Vec<&str> = handlers.iter().map(|handler| handler.name.as_str()).collect();
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    equal("StatusResponse.runtime_handlers: different names", names.len(), all)?;
    holds("StatusResponse.runtime_handlers", names.contains(&""), "the default handler, by the empty name", &names)?;
    let features = |handler: &RuntimeHandler| handler.features.is_some();
    holds("RuntimeHandler.features", handlers.iter().all(features), "features of each", &handlers)?;
    let wanted = ctx.handler();
    holds("StatusResponse.runtime_handlers", names.contains(&wanted), format!("the handler {wanted:?}"), &names)?;
    for handler in USUAL {
        let config = Some(ctx.pod(handler)?);
        let request = RunPodSandboxRequest { config, runtime_handler: handler.to_owned() };
        // Which of them there are is the node's affair; what runs a pod has to be listed.
        let runs = ctx.run_pod_sandbox(request).await.is_ok();
        let expected = format!("the handler {handler:?}, which runs pods");
        holds("StatusResponse.runtime_handlers", !runs || names.contains(&handler), expected, &names)?;
    }
    Ok(())
}

/// What handlers are usually called.
const USUAL: [&str; 2] = ["runc", "crun"];

async fn tells_the_features(ctx: Ctx) -> Checked {
    let features = present("StatusResponse.features", ctx.status(StatusRequest { verbose: false }).await?.features)?;
    equal("StatusResponse.features, a second time", Some(features), ctx.runtime_status().features)
}

async fn names_the_cgroup_driver(ctx: Ctx) -> Checked {
    let config = ctx.runtime_config(RuntimeConfigRequest {}).await?;
    let linux = present("RuntimeConfigResponse.linux", config.linux)?;
    let driver = CgroupDriver::try_from(linux.cgroup_driver);
    holds("LinuxRuntimeConfiguration.cgroup_driver", driver.is_ok(), "SYSTEMD or CGROUPFS", linux)?;
    // The kubelet names the cgroups of pods as that driver wants it.
    let pod = ctx.run_pod(ctx.with_cgroup(ctx.pod("pod")?).await).await?;
    ctx.start_sleeper(&pod).await?;
    let parent = pod.config.linux.unwrap_or_default().cgroup_parent;
    holds("the cgroup of a pod", !cgroup::is_misplaced(&parent), format!("{parent} below its slice"), driver)
}

//! Fields that are refused: each is sent alone, with a value, in an otherwise good request, and makes nothing.

use std::collections::{BTreeSet, HashMap};

use corten_cri::{DESCRIPTORS, v1::*};
use corten_e2e::{cri::assert_refused, daemon::Setup, lab, leaks, pods};
use prost::Message;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage, Value,
};
use tonic::Code;

/// Messages of this type (by its name in the schema), each with another of all its fields set, down to the last one in its parts.
fn with_one_field<M: Message + Default>(name: &str) -> Vec<(String, M)> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let message = pool.get_message_by_name(&format!("runtime.v1.{name}")).unwrap();
    each(&message).into_iter().map(|(path, message)| (path, message.transcode_to().unwrap())).collect()
}

fn each(message: &MessageDescriptor) -> Vec<(String, DynamicMessage)> {
    let with = |field: &FieldDescriptor, value: Value| {
        let mut one = DynamicMessage::new(message.clone());
        one.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
        one
    };
    let mut found = Vec::new();
    for field in message.fields() {
        match field.kind() {
            Kind::Message(_) if field.is_map() => {
                let value = HashMap::from([(MapKey::String("key".into()), Value::String("value".into()))]);
                found.push((field.name().to_owned(), with(&field, Value::Map(value))));
            }
            Kind::Message(part) => {
                let parts = each(&part).into_iter();
                found.extend(
                    parts.map(|(path, part)| (format!("{}.{path}", field.name()), with(&field, Value::Message(part)))),
                );
            }
            kind => found.push((field.name().to_owned(), with(&field, scalar(&kind)))),
        }
    }
    found
}

fn scalar(kind: &Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 => Value::I32(1),
        Kind::Int64 => Value::I64(1),
        Kind::Uint32 => Value::U32(1),
        Kind::Uint64 => Value::U64(1),
        Kind::String => Value::String("x".into()),
        Kind::Bytes => Value::Bytes("x".into()),
        Kind::Enum(_) => Value::EnumNumber(1),
        other => panic!("no value for {other:?}"),
    }
}

/// A value that no enum has.
const NEWER: i32 = 100;

/// Copies of a message, each with another enum of it, or of a message in it, of an unknown value; with the enum's path. Of
/// a list that is the first element, which `base` has to have.
fn with_unknown_values<M: Message + Default>(name: &str, base: &M) -> Vec<(String, M)> {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let descriptor = pool.get_message_by_name(&format!("runtime.v1.{name}")).unwrap();
    let mut base_message = DynamicMessage::new(descriptor);
    base_message.transcode_from(base).unwrap();
    let all = unknown_values(&base_message).into_iter();
    all.map(|(path, message)| (path, message.transcode_to().unwrap())).collect()
}

fn unknown_values(base: &DynamicMessage) -> Vec<(String, DynamicMessage)> {
    let mut found = Vec::new();
    for field in base.descriptor().fields().filter(|field| field.name() != "windows" && !field.is_map()) {
        let mut with = |path: String, value: Value| {
            let mut one = base.clone();
            one.set_field(&field, value);
            found.push((path, one));
        };
        match field.kind() {
            Kind::Enum(_) => with(field.name().to_owned(), Value::EnumNumber(NEWER)),
            Kind::Message(part) => {
                let value = base.get_field(&field).into_owned();
                let (base, index) = match &value {
                    Value::List(list) => (list.first().and_then(Value::as_message), "[0]"),
                    one => (one.as_message(), ""),
                };
                let base = base.cloned().unwrap_or_else(|| DynamicMessage::new(part));
                for (path, part) in unknown_values(&base) {
                    let part = Value::Message(part);
                    let value = if field.is_list() { Value::List(vec![part]) } else { part };
                    with(format!("{}{index}.{path}", field.name()), value);
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn whatever_is_for_windows_is_refused() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let (config, before) = (lab.pod("linux"), lab.snapshot());
        let of_pods = with_one_field::<WindowsPodSandboxConfig>("WindowsPodSandboxConfig");
        assert!(of_pods.iter().any(|(path, _)| path == "security_context.namespace_options.network"), "{of_pods:?}");
        for (path, windows) in of_pods {
            let refused = lab.cri.run_pod(&PodSandboxConfig { windows: Some(windows), ..config.clone() }, "").await;
            assert_eq!(refused.as_ref().err().map(|status| status.code()), Some(Code::InvalidArgument), "{path}");
            assert_refused(refused, Code::InvalidArgument, &["config.windows"]);
        }
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
        let pod = lab.run_pod(&config).await;
        let before = lab.snapshot();
        let of_containers = with_one_field::<WindowsContainerConfig>("WindowsContainerConfig");
        assert!(of_containers.iter().any(|(path, _)| path == "resources.affinity_cpus.cpu_mask"), "{of_containers:?}");
        for (path, windows) in of_containers {
            let container = ContainerConfig { windows: Some(windows), ..pods::sleeper("c", &image) };
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_eq!(refused.as_ref().err().map(|status| status.code()), Some(Code::InvalidArgument), "{path}");
            assert_refused(refused, Code::InvalidArgument, &["config.windows"]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        let told = lab.cri.status(&id).await.unwrap();
        for (_, windows) in with_one_field::<WindowsContainerResources>("WindowsContainerResources") {
            let linux = Some(LinuxContainerResources { cpu_shares: 77, ..Default::default() });
            let container_id = id.clone();
            let request =
                UpdateContainerResourcesRequest { container_id, linux, windows: Some(windows), ..Default::default() };
            let refused = lab.cri.runtime().update_container_resources(request).await;
            assert_refused(refused, Code::InvalidArgument, &["windows"]);
        }
        assert_eq!(lab.cri.status(&id).await.unwrap(), told);
    });
}

#[test]
fn values_that_nobody_knows_are_refused_by_name() {
    lab::test(Setup::default(), async |lab| {
        let (image, before) = (lab.busybox().await, lab.snapshot());
        let mut config = lab.pod("newer");
        config.port_mappings = vec![PortMapping { container_port: 80, host_port: 8080, ..Default::default() }];
        let request = RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let words = |path: &str| [path.to_owned(), NEWER.to_string(), "is not a value this runtime knows".to_owned()];
        let all = with_unknown_values("RunPodSandboxRequest", &request);
        assert_eq!(all.len(), 8, "{:?}", all.iter().map(|(path, _)| path).collect::<Vec<_>>());
        for (path, request) in all {
            let refused = lab.cri.runtime().run_pod_sandbox(request).await;
            assert_refused(refused, Code::InvalidArgument, &words(&path).each_ref().map(String::as_str));
        }
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());

        config.port_mappings.clear();
        let pod = lab.run_pod(&config).await;
        let before = lab.snapshot();
        let mounts = vec![Mount { container_path: "/m".into(), host_path: "/etc".into(), ..Default::default() }];
        let container = ContainerConfig { mounts, ..pods::sleeper("c", &image) };
        // Of the pod's own configuration, which comes along again, nothing is read.
        let request = CreateContainerRequest { pod_sandbox_id: pod, config: Some(container), sandbox_config: None };
        let all = with_unknown_values("CreateContainerRequest", &request).into_iter();
        let all: Vec<_> = all.filter(|(path, _)| !path.starts_with("sandbox_config.")).collect();
        assert_eq!(all.len(), 9, "{:?}", all.iter().map(|(path, _)| path).collect::<Vec<_>>());
        for (path, request) in all {
            let refused = lab.cri.runtime().create_container(request).await;
            assert_refused(refused, Code::InvalidArgument, &words(&path).each_ref().map(String::as_str));
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
    });
}

/// Every request has its enums tried: here, or in `what_is_out_of_bounds_makes_nothing`, or it is refused as a whole. A pull has
/// them in its pod's configuration only, which decides nothing about it.
#[test]
fn enums_are_in_the_requests_that_are_tried_and_in_no_other() {
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    let services = pool.services().filter(|service| service.full_name().starts_with("runtime.v1."));
    let requests = services.flat_map(|service| service.methods().map(|method| method.input()).collect::<Vec<_>>());
    let with_enums = requests.filter(|request| !unknown_values(&DynamicMessage::new(request.clone())).is_empty());
    let names: BTreeSet<_> = with_enums.map(|request| request.name().to_owned()).collect();
    let expected = [
        "CreateContainerRequest",
        "ListContainersRequest",
        "ListPodSandboxRequest",
        "PullImageRequest",
        "RestorePodRequest",
        "RunPodSandboxRequest",
        "StreamContainersRequest",
        "StreamPodSandboxesRequest",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

#[test]
fn devices_of_the_device_interface_are_refused() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("cdi");
        let pod = lab.run_pod(&config).await;
        let before = lab.snapshot();
        for (_, device) in with_one_field::<CdiDevice>("CDIDevice") {
            let name = device.name.clone();
            let container = ContainerConfig { cdi_devices: vec![device], ..pods::sleeper("c", &image) };
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_refused(refused, Code::Unimplemented, &["config.CDI_devices", &name]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
    });
}

#[test]
fn checkpoints_are_refused() {
    lab::test(Setup::default(), async |lab| {
        let before = lab.snapshot();
        let mut runtime = lab.cri.runtime();
        for (_, request) in with_one_field::<CheckpointContainerRequest>("CheckpointContainerRequest") {
            assert_refused(runtime.checkpoint_container(request).await, Code::Unimplemented, &["CheckpointContainer"]);
        }
        for (_, request) in with_one_field::<CheckpointPodRequest>("CheckpointPodRequest") {
            assert_refused(runtime.checkpoint_pod(request).await, Code::Unimplemented, &["CheckpointPod"]);
        }
        let requests = with_one_field::<RestorePodRequest>("RestorePodRequest");
        assert!(requests.len() > 100, "{}", requests.len());
        for (_, request) in requests {
            assert_refused(runtime.restore_pod(request).await, Code::Unimplemented, &["RestorePod"]);
        }
        assert_eq!(lab.cri.list_pods(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
    });
}

/// Values that only the RPC itself can judge: with what is configured, with the pod, and in filters.
#[test]
fn what_is_out_of_bounds_makes_nothing() {
    lab::test(Setup::default(), async |lab| {
        let image = lab.busybox().await;
        let (mut runtime, mut images) = (lab.cri.runtime(), lab.cri.images());
        let spec = || Some(ImageSpec { image: image.clone(), runtime_handler: "kata".into(), ..Default::default() });
        let words = ["image.runtime_handler", "kata"];
        let refused = images.pull_image(PullImageRequest { image: spec(), ..Default::default() }).await;
        assert_refused(refused, Code::InvalidArgument, &words);
        let refused = images.image_status(ImageStatusRequest { image: spec(), verbose: false }).await;
        assert_refused(refused, Code::InvalidArgument, &words);
        let refused = images.remove_image(RemoveImageRequest { image: spec() }).await;
        assert_refused(refused, Code::InvalidArgument, &words);
        let filter = Some(ImageFilter { image: spec() });
        let refused = images.list_images(ListImagesRequest { filter: filter.clone() }).await;
        assert_refused(refused, Code::InvalidArgument, &words);
        let refused = images.stream_images(StreamImagesRequest { filter }).await;
        assert_refused(refused, Code::InvalidArgument, &words);

        let state = Some(PodSandboxStateValue { state: 2 });
        let filter = Some(PodSandboxFilter { state, ..Default::default() });
        let words = ["filter.state.state", "2"];
        assert_refused(lab.cri.list_pods(filter.clone()).await, Code::InvalidArgument, &words);
        let refused = runtime.stream_pod_sandboxes(StreamPodSandboxesRequest { filter }).await;
        assert_refused(refused, Code::InvalidArgument, &words);
        let filter = Some(ContainerFilter { state: Some(ContainerStateValue { state: -1 }), ..Default::default() });
        let words = ["filter.state.state", "-1"];
        assert_refused(lab.cri.list(filter.clone()).await, Code::InvalidArgument, &words);
        let refused = runtime.stream_containers(StreamContainersRequest { filter }).await;
        assert_refused(refused, Code::InvalidArgument, &words);

        let config = lab.pod("bounds");
        let pod = lab.run_pod(&config).await;
        let before = lab.snapshot();
        let container = ContainerConfig { image: spec(), ..pods::sleeper("c", &image) };
        let refused = lab.cri.create(&pod, &config, &container).await;
        assert_refused(refused, Code::InvalidArgument, &["config.image.runtime_handler", "kata"]);
        let mounts = vec![Mount { container_path: "/v".into(), image: spec(), readonly: true, ..Default::default() }];
        let refused = lab.cri.create(&pod, &config, &ContainerConfig { mounts, ..pods::sleeper("c", &image) }).await;
        assert_refused(refused, Code::InvalidArgument, &["config.mounts[0].image.runtime_handler", "kata"]);
        type Change = fn(&mut NamespaceOption);
        let changes: [(&str, Change); 2] =
            [("network", |n| n.network = NamespaceMode::Node.into()), ("ipc", |n| n.ipc = NamespaceMode::Node.into())];
        for (field, change) in changes {
            let container = pods::with_security(pods::sleeper("c", &image), |security| {
                change(security.namespace_options.as_mut().unwrap());
            });
            let refused = lab.cri.create(&pod, &config, &container).await;
            assert_refused(refused, Code::InvalidArgument, &[&format!("namespace_options.{field}"), "NODE"]);
        }
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
        leaks::assert_same(&before, || lab.snapshot());
        let id = lab.start(&pod, &config, &pods::sleeper("c", &image)).await;
        assert_refused(lab.cri.stop(&id, -1).await, Code::InvalidArgument, &["timeout", "-1"]);
        assert_refused(lab.cri.exec_sync(&id, &["true"], -1).await, Code::InvalidArgument, &["timeout", "-1"]);
        assert_refused(lab.cri.exec_sync(&id, &[], 1).await, Code::InvalidArgument, &["cmd"]);
        assert_eq!(lab.cri.status(&id).await.unwrap().state(), ContainerState::ContainerRunning);
    });
}

//! Limits on huge pages, on swap, and by the files of cgroup v2; the effects are read from the container's cgroup.

use std::{
    fs,
    path::{Path, PathBuf},
};

use corten_cri::v1::*;
use corten_e2e::{
    cri::assert_refused,
    daemon::Setup,
    for_each_launcher,
    lab::{self, Lab},
    pods::{self, with_resources},
};
use tonic::Code;

for_each_launcher!(
    huge_pages_are_limited_and_limited_otherwise,
    huge_pages_are_limited_where_cgroups_are_of_version_2,
    huge_pages_of_a_size_that_the_kernel_has_not_are_refused,
    files_of_cgroups_are_set_by_name,
    files_of_version_2_are_refused_where_cgroups_are_not,
    swap_is_what_the_sum_leaves_and_none_without_one,
);

const MIB: u64 = 1 << 20;

/// The value of a file of a container's cgroup, in whatever hierarchy has it.
fn read(lab: &Lab, id: &str, file: &str) -> Option<String> {
    let own = lab.cgroup_directories(id);
    own.iter().find_map(|path| Some(fs::read_to_string(Path::new(path).join(file)).ok()?.trim().to_owned()))
}

/// The limit on huge pages of a size, and that on their reservations; `None` where no cgroup has one.
fn limit(lab: &Lab, id: &str, size: &str) -> Option<u64> {
    let of = |file: &str| {
        let text = read(lab, id, &format!("hugetlb.{size}.{file}"))?;
        Some(if text == "max" { u64::MAX } else { text.parse().unwrap() })
    };
    let limit = of("max").or_else(|| of("limit_in_bytes"))?;
    // Debian's runc does not limit reservations.
    if lab.setup().handler == "corten" {
        let reserved = of("rsvd.max").or_else(|| of("rsvd.limit_in_bytes"));
        assert!(reserved.is_none_or(|reserved| reserved == limit), "{size}: {limit}, but {reserved:?} reserved");
    }
    Some(limit)
}

fn of_pages<const N: usize>(limits: [(&str, u64); N]) -> LinuxContainerResources {
    let one = |(size, limit): (&str, u64)| HugepageLimit { page_size: size.to_owned(), limit };
    LinuxContainerResources { hugepage_limits: limits.map(one).into(), ..Default::default() }
}

fn of_files<const N: usize>(files: [(&str, &str); N]) -> LinuxContainerResources {
    let unified = files.map(|(file, value)| (file.to_owned(), value.to_owned())).into();
    LinuxContainerResources { unified, ..Default::default() }
}

/// Whether a hierarchy of cgroups has the controller. (The kernel may have none.)
fn is_there(controller: &str) -> bool {
    let root = Path::new("/sys/fs/cgroup");
    let listed = |file: PathBuf| {
        fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|word| word == controller))
    };
    let lists = [root.join("cgroup.controllers"), root.join("unified/cgroup.controllers")];
    root.join(controller).exists() || lists.into_iter().any(listed)
}

/// The sizes of huge pages here, as cgroups name them, that the tests use: x86-64's.
const SIZES: [&str; 2] = ["2MB", "1GB"];

async fn limits_come_and_go(lab: &Lab) {
    if !is_there("hugetlb") {
        return;
    }
    let [small, large] = SIZES;
    let image = lab.busybox().await;
    let config = lab.pod("limited");
    let pod = lab.run_pod(&config).await;
    let container = with_resources(pods::sleeper("c", &image), |r| *r = of_pages([(small, 4 * MIB), (large, 0)]));
    let id = lab.start(&pod, &config, &container).await;
    let now = |size| limit(lab, &id, size);
    assert_eq!((now(small), now(large)), (Some(4 * MIB), Some(0)));
    lab.cri.update(&id, of_pages([(small, 8 * MIB)])).await.unwrap();
    assert_eq!((now(small), now(large)), (Some(8 * MIB), Some(0)));
    lab.cri.update(&id, of_pages([(small, 0), (large, 1024 * MIB)])).await.unwrap();
    assert_eq!((now(small), now(large)), (Some(0), Some(1024 * MIB)));
    // What the kubelet sends for a container that asks for none.
    let none = with_resources(pods::sleeper("none", &image), |r| *r = of_pages([(small, 0), (large, 0)]));
    let none = lab.start(&pod, &config, &none).await;
    assert_eq!([small, large].map(|size| limit(lab, &none, size)), [Some(0), Some(0)]);
    let told = lab.cri.status(&id).await.unwrap().resources.unwrap().linux.unwrap().hugepage_limits;
    assert_eq!(told, of_pages([(small, 0), (large, 1024 * MIB)]).hugepage_limits);
}

fn huge_pages_are_limited_and_limited_otherwise(setup: Setup) {
    lab::test(setup, async |lab| limits_come_and_go(lab).await);
}

fn huge_pages_are_limited_where_cgroups_are_of_version_2(setup: Setup) {
    lab::test(Setup { only_cgroup_v2: true, ..setup }, async |lab| limits_come_and_go(lab).await);
}

fn huge_pages_of_a_size_that_the_kernel_has_not_are_refused(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("unknown");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::sleeper("c", &image), |r| *r = of_pages([("2MB", 0), ("3MB", MIB)]));
        let field = "config.linux.resources.hugepage_limits[1].page_size";
        let refused = lab.cri.create(&pod, &config, &container).await;
        assert_refused(refused, Code::InvalidArgument, &[field, "3MB", "2MB"]);
        assert_eq!(lab.cri.list(None).await.unwrap(), Vec::<String>::new());
    });
}

fn files_of_cgroups_are_set_by_name(setup: Setup) {
    lab::test(Setup { only_cgroup_v2: true, ..setup }, async |lab| {
        // Whatever controller v1 leaves to v2.
        let known = [("memory", "memory.high", "50331648", "max"), ("hugetlb", "hugetlb.2MB.max", "4194304", "max")];
        let Some((_, file, first, second)) = known.into_iter().find(|(controller, ..)| is_there(controller)) else {
            return;
        };
        let image = lab.busybox().await;
        let config = lab.pod("files");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::sleeper("c", &image), |r| *r = of_files([(file, first)]));
        let id = lab.start(&pod, &config, &container).await;
        assert_eq!(read(lab, &id, file).as_deref(), Some(first));
        lab.cri.update(&id, of_files([(file, second)])).await.unwrap();
        assert_eq!(read(lab, &id, file).as_deref(), Some(second));
        for (file, value) in [("memory.nothing", "1"), (file, "much")] {
            let refused = lab.cri.update(&id, of_files([(file, value)])).await;
            assert_refused(refused, Code::InvalidArgument, &["linux.unified", value]);
        }
        assert_eq!(read(lab, &id, file).as_deref(), Some(second));
        let told = lab.cri.status(&id).await.unwrap().resources.unwrap().linux.unwrap().unified;
        assert_eq!(told, of_files([(file, second)]).unified);
    });
}

fn files_of_version_2_are_refused_where_cgroups_are_not(setup: Setup) {
    lab::test(setup, async |lab| {
        if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            return;
        }
        let image = lab.busybox().await;
        let config = lab.pod("version-1");
        let pod = lab.run_pod(&config).await;
        let container = with_resources(pods::sleeper("c", &image), |r| *r = of_files([("memory.high", "50331648")]));
        let refused = lab.cri.create(&pod, &config, &container).await;
        assert_refused(refused, Code::Unimplemented, &["config.linux.resources.unified", "version 2"]);
    });
}

fn swap_is_what_the_sum_leaves_and_none_without_one(setup: Setup) {
    lab::test(setup, async |lab| {
        let image = lab.busybox().await;
        let config = lab.pod("swap");
        let pod = lab.run_pod(&config).await;
        let mib = i64::try_from(MIB).unwrap();
        for (name, sum, expected) in [
            ("none", 0, Some(0)),
            ("as-much", 128 * mib, Some(64 * mib)),
            ("no-more", 64 * mib, Some(0)),
            ("unlimited", -1, None),
        ] {
            let container = with_resources(pods::sleeper(name, &image), |resources| {
                resources.memory_limit_in_bytes = 64 * mib;
                resources.memory_swap_limit_in_bytes = sum;
            });
            let id = lab.start(&pod, &config, &container).await;
            let number = |text: String| text.parse::<i64>().ok().filter(|limit| *limit < i64::MAX / 2);
            let swap = match read(lab, &id, "memory.memsw.limit_in_bytes") {
                Some(sum) => number(sum).map(|sum| sum - 64 * mib),
                None => match read(lab, &id, "memory.swap.max") {
                    Some(swap) => number(swap),
                    // The kernel does not account swap.
                    None => continue,
                },
            };
            assert_eq!(swap, expected, "{name}");
        }
    });
}

//! What of the node a container gets: files, directories, images and devices.

use std::path::{Path, PathBuf};

use corten_cri::v1;
use corten_host::user_namespace::Mappings;
use serde::{Deserialize, Serialize};

use super::ImageSpec;
use super::mount_options::MountOption;
use crate::check;
use crate::error::Result;
use crate::security;

/// A file or directory of the node, or an image, mounted in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where in the container; absolute and without `..`.
    pub container_path: PathBuf,
    /// What of the node.
    #[serde(flatten)]
    pub source: Source,
    /// Whether it can be written to.
    #[serde(default)]
    pub access: MountAccess,
    /// Whether mounts below it travel between the node and the container.
    #[serde(default)]
    pub propagation: Propagation,
    /// Whether SELinux labels are to be set on it. Without SELinux there are none.
    #[serde(default)]
    pub selinux_relabel: bool,
    /// Whose its files' owners are in the container, if they are mapped: inside, as what is stored.
    #[serde(default)]
    pub users: Option<Mappings>,
    /// What else holds for the mount itself, each once; not for mounts below it.
    #[serde(default)]
    pub options: Vec<MountOption>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file or directory: absolute and without `..`.
    #[serde(rename = "host_path")]
    Host(PathBuf),
    /// An image's root file system (KEP-4639), which is read-only.
    #[serde(rename = "image")]
    Image(ImageSource),
}

/// An image that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSource {
    /// The image.
    pub spec: ImageSpec,
    /// The directory of it that is shown, relative and without `..`; `None` for its root.
    #[serde(default)]
    pub sub_path: Option<PathBuf>,
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountAccess {
    /// It can.
    #[default]
    ReadWrite,
    /// It cannot; mounts below it may.
    ReadOnly,
    /// Neither it nor any mount below it can.
    RecursiveReadOnly,
}

/// How mounts below a mount travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the node to the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// A device of the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where in the container.
    pub container_path: PathBuf,
    /// The node's device, or a directory of them.
    pub host_path: PathBuf,
    /// What may be done: some of `r`, `w` and `m`, each at most once.
    pub permissions: String,
}

impl Mount {
    pub(super) fn from_cri(field: &str, mount: v1::Mount) -> Result<Self> {
        let v1::Mount {
            container_path,
            host_path,
            readonly,
            selinux_relabel,
            propagation,
            uid_mappings,
            gid_mappings,
            recursive_read_only,
            image,
            image_sub_path,
            mount_options,
        } = mount;
        let name = |name: &str| format!("{field}.{name}");
        let users = match uid_mappings.is_empty() && gid_mappings.is_empty() {
            true => None,
            false => {
                Some(security::id_mappings((&name("uidMappings"), uid_mappings), (&name("gidMappings"), gid_mappings))?)
            }
        };
        let container_path = check::container_path(&name("container_path"), container_path)?;
        if container_path == Path::new("/") {
            return Err(check::invalid(&name("container_path"), "/", "must not be the container's root"));
        }
        let propagation = Propagation::from_cri(&name("propagation"), propagation)?;
        let access = MountAccess::from_cri(&name("recursive_read_only"), readonly, recursive_read_only, propagation)?;
        let options = MountOption::from_cri(&name("mount_options"), mount_options)?;
        let image = image.filter(|image| *image != v1::ImageSpec::default());
        let source = match image {
            Some(image) => Source::image(field, image, image_sub_path, &host_path)?,
            None if !image_sub_path.is_empty() => {
                return Err(check::invalid(&name("image_sub_path"), &image_sub_path, "must not be set without image"));
            }
            None => Source::Host(check::host_path(&name("host_path"), host_path)?),
        };
        let mount = Self { container_path, source, access, propagation, selinux_relabel, users, options };
        mount.check_image(field)?;
        Ok(mount)
    }

    /// The image that it shows, if it does.
    pub fn image(&self) -> Option<&ImageSource> {
        match &self.source {
            Source::Host(_) => None,
            Source::Image(image) => Some(image),
        }
    }

    /// How mounts below it travel; an image is nobody else's, and has none.
    pub fn travels(&self) -> Propagation {
        match self.source {
            Source::Host(_) => self.propagation,
            Source::Image(_) => Propagation::Private,
        }
    }

    fn check_image(&self, field: &str) -> Result<()> {
        let refused = |name: &str, value: &str, why: &str| Err(check::invalid(&format!("{field}.{name}"), value, why));
        match (&self.source, self.access, self.propagation) {
            (Source::Host(_), ..) => Ok(()),
            (Source::Image(_), MountAccess::ReadWrite, _) => {
                refused("readonly", "false", "must be set: images are read-only")
            }
            (Source::Image(_), _, Propagation::Bidirectional) => {
                refused("propagation", "PROPAGATION_BIDIRECTIONAL", "an image has nobody on the node to propagate to")
            }
            (Source::Image(_), ..) => Ok(()),
        }
    }
}

impl Source {
    fn image(field: &str, image: v1::ImageSpec, sub_path: String, host_path: &str) -> Result<Self> {
        if !host_path.is_empty() {
            return Err(check::invalid(&format!("{field}.host_path"), host_path, "must not be set with image"));
        }
        let spec = ImageSpec::from_cri(&format!("{field}.image"), Some(image))?;
        let sub_path = match sub_path.as_str() {
            "" | "." => None,
            _ => Some(check::relative_path(&format!("{field}.image_sub_path"), sub_path)?),
        };
        Ok(Self::Image(ImageSource { spec, sub_path }))
    }
}

impl MountAccess {
    fn from_cri(field: &str, readonly: bool, recursive: bool, propagation: Propagation) -> Result<Self> {
        match (readonly, recursive) {
            (false, false) => Ok(Self::ReadWrite),
            (true, false) => Ok(Self::ReadOnly),
            (true, true) if propagation == Propagation::Private => Ok(Self::RecursiveReadOnly),
            (true, true) => Err(check::invalid(field, "true", "must not be set unless the propagation is private")),
            (false, true) => Err(check::invalid(field, "true", "must not be set without readonly")),
        }
    }
}

impl Propagation {
    fn from_cri(field: &str, propagation: i32) -> Result<Self> {
        Ok(match check::known(field, propagation)? {
            v1::MountPropagation::PropagationPrivate => Self::Private,
            v1::MountPropagation::PropagationHostToContainer => Self::HostToContainer,
            v1::MountPropagation::PropagationBidirectional => Self::Bidirectional,
        })
    }
}

impl Device {
    pub(super) fn from_cri(field: &str, device: v1::Device) -> Result<Self> {
        let v1::Device { container_path, host_path, permissions } = device;
        let name = |name: &str| format!("{field}.{name}");
        let host_path = check::host_path(&name("host_path"), host_path)?;
        let container_path = match container_path.is_empty() {
            true => host_path.clone(),
            false => check::container_path(&name("container_path"), container_path)?,
        };
        let known = permissions.bytes().all(|byte| b"rwm".contains(&byte));
        let once = "rwm".chars().all(|c| permissions.matches(c).count() <= 1);
        match known && once && !permissions.is_empty() {
            true => Ok(Self { container_path, host_path, permissions }),
            false => Err(check::invalid(&name("permissions"), &permissions, "must be some of 'r', 'w' and 'm'")),
        }
    }
}

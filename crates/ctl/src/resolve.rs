//! From what a person types (a name, an id, the beginning of an id) to a pod or a container.

use corten_cri::v1;

/// Why a word means nothing, or too much.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is called so.
    #[error("{word}: there is no {kind} of that name or id")]
    None {
        /// What was typed.
        word: String,
        /// What was looked for.
        kind: &'static str,
    },
    /// Several things are called so.
    #[error("{word}: could be any of {candidates}")]
    Ambiguous {
        /// What was typed.
        word: String,
        /// The candidates, as the tables show them.
        candidates: String,
    },
}

/// Something with an id.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// A pod sandbox.
    Pod(v1::PodSandbox),
    /// A container.
    Container(v1::Container),
}

/// Everything that can be meant.
#[derive(Debug, Default)]
pub struct Known {
    /// The sandboxes.
    pub pods: Vec<v1::PodSandbox>,
    /// The containers.
    pub containers: Vec<v1::Container>,
}

/// How well a word fits; the better comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Id,
    Name,
    Prefix,
}

impl Target {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Pod(pod) => &pod.id,
            Self::Container(container) => &container.id,
        }
    }
}

impl Known {
    /// The pod or container a word means: an id, a name (`pod`, `namespace/pod`, `container`, `pod/container`), or the
    /// beginning of an id, in this order.
    ///
    /// # Errors
    /// [`Error`], with the candidates if there are several.
    pub fn target(&self, word: &str) -> Result<Target, Error> {
        let pods = self.pods.iter().map(|pod| Target::Pod(pod.clone()));
        let containers = self.containers.iter().map(|container| Target::Container(container.clone()));
        self.choose(word, "pod or container", pods.chain(containers))
    }

    /// The pod a word means.
    ///
    /// # Errors
    /// As [`Known::target`].
    pub fn pod(&self, word: &str) -> Result<v1::PodSandbox, Error> {
        let pods = self.pods.iter().map(|pod| Target::Pod(pod.clone()));
        match self.choose(word, "pod", pods)? {
            Target::Pod(pod) => Ok(pod),
            Target::Container(_) => Err(Error::None { word: word.to_owned(), kind: "pod" }),
        }
    }

    /// The container a word means.
    ///
    /// # Errors
    /// As [`Known::target`].
    pub fn container(&self, word: &str) -> Result<v1::Container, Error> {
        let containers = self.containers.iter().map(|container| Target::Container(container.clone()));
        match self.choose(word, "container", containers)? {
            Target::Container(container) => Ok(container),
            Target::Pod(_) => Err(Error::None { word: word.to_owned(), kind: "container" }),
        }
    }

    /// The running container a word means; one that has ended is not meant.
    ///
    /// # Errors
    /// As [`Known::target`].
    pub fn running_container(self, word: &str) -> Result<v1::Container, Error> {
        let running = |container: &v1::Container| container.state() == v1::ContainerState::ContainerRunning;
        let containers = self.containers.into_iter().filter(running).collect();
        Self { pods: self.pods, containers }.container(word).map_err(|error| match error {
            Error::None { word, .. } => Error::None { word, kind: "running container" },
            ambiguous => ambiguous,
        })
    }

    fn choose(&self, word: &str, kind: &'static str, all: impl Iterator<Item = Target>) -> Result<Target, Error> {
        let mut fitting: Vec<_> = all.filter_map(|target| Some((self.fit(word, &target)?, target))).collect();
        let best = fitting.iter().map(|(fit, _)| *fit).min();
        fitting.retain(|(fit, _)| Some(*fit) == best);
        match fitting.len() {
            0 => Err(Error::None { word: word.to_owned(), kind }),
            1 => Ok(fitting.remove(0).1),
            _ => {
                let candidates: Vec<_> = fitting.iter().map(|(_, target)| self.describe(target)).collect();
                Err(Error::Ambiguous { word: word.to_owned(), candidates: candidates.join(", ") })
            }
        }
    }

    fn fit(&self, word: &str, target: &Target) -> Option<Fit> {
        let (name, qualified) = self.names(target);
        if word == target.id() {
            Some(Fit::Id)
        } else if !word.is_empty() && (word == name || word == qualified) {
            Some(Fit::Name)
        } else if !word.is_empty() && target.id().starts_with(word) {
            Some(Fit::Prefix)
        } else {
            None
        }
    }

    /// A target's name, alone and with what it is in.
    fn names(&self, target: &Target) -> (String, String) {
        let (parent, name) = match target {
            Target::Pod(pod) => {
                let metadata = pod.metadata.clone().unwrap_or_default();
                (metadata.namespace, metadata.name)
            }
            Target::Container(container) => {
                let pod = self.pods.iter().find(|pod| pod.id == container.pod_sandbox_id);
                let pod = pod.and_then(|pod| pod.metadata.clone()).unwrap_or_default();
                (pod.name, container.metadata.clone().unwrap_or_default().name)
            }
        };
        let qualified = format!("{parent}/{name}");
        (name, qualified)
    }

    fn describe(&self, target: &Target) -> String {
        let kind = match target {
            Target::Pod(_) => "pod",
            Target::Container(_) => "container",
        };
        format!("{kind} {} ({})", crate::table::short_id(target.id()), self.names(target).1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    fn pod(id: &str, namespace: &str, name: &str) -> v1::PodSandbox {
        let metadata = v1::PodSandboxMetadata {
            name: name.into(),
            namespace: namespace.into(),
            ..v1::PodSandboxMetadata::default()
        };
        v1::PodSandbox { id: id.into(), metadata: Some(metadata), ..v1::PodSandbox::default() }
    }

    fn container(id: &str, pod: &str, name: &str, state: v1::ContainerState) -> v1::Container {
        v1::Container {
            id: id.into(),
            pod_sandbox_id: pod.into(),
            metadata: Some(v1::ContainerMetadata { name: name.into(), attempt: 0 }),
            state: state.into(),
            ..v1::Container::default()
        }
    }

    fn known() -> Known {
        use v1::ContainerState::{ContainerExited, ContainerRunning};
        Known {
            pods: vec![pod("aa11", "default", "web"), pod("aa22", "apps", "web"), pod("bb33", "default", "db")],
            containers: vec![
                container("cc44", "aa11", "main", ContainerExited),
                container("cc55", "bb33", "main", ContainerRunning),
                container("dd66", "bb33", "aa", ContainerRunning),
            ],
        }
    }

    fn id(word: &str) -> String {
        known().target(word).unwrap().id().to_owned()
    }

    #[test]
    fn ids_names_and_prefixes_are_understood() {
        for (word, expected) in [
            ("aa11", "aa11"),
            ("bb", "bb33"),
            ("db", "bb33"),
            ("apps/web", "aa22"),
            ("web/main", "cc44"),
            ("db/main", "cc55"),
            ("dd6", "dd66"),
        ] {
            assert_eq!(id(word), expected, "{word}");
        }
    }

    #[test]
    fn a_name_goes_before_the_beginning_of_an_id() {
        assert_eq!(id("aa"), "dd66");
    }

    #[test]
    fn what_could_be_several_things_lists_them() {
        let error = known().target("web").unwrap_err().to_string();
        assert_eq!(error, "web: could be any of pod aa11 (default/web), pod aa22 (apps/web)");
        let error = known().target("aa1").map(|target| target.id().to_owned());
        assert_eq!(error.unwrap(), "aa11");
        assert!(known().target("cc").unwrap_err().to_string().contains("container cc44 (web/main), container cc55"));
    }

    #[test]
    fn what_is_nothing_says_so() {
        assert_eq!(
            known().target("zz").unwrap_err().to_string(),
            "zz: there is no pod or container of that name or id"
        );
        assert!(known().target("").is_err());
        assert!(known().container("db").is_err(), "a pod is no container");
        assert_eq!(known().pod("db").unwrap().id, "bb33");
        assert_eq!(known().pod("db/main").unwrap_err().to_string(), "db/main: there is no pod of that name or id");
    }

    #[test]
    fn an_ended_container_does_not_make_a_running_one_ambiguous() {
        assert_eq!(known().running_container("main").unwrap().id, "cc55");
        let error = known().running_container("cc44").unwrap_err().to_string();
        assert_eq!(error, "cc44: there is no running container of that name or id");
    }
}

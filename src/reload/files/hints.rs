//! Notices at once that files may have changed.
//!
//! This is only a hint, because some changes cause no event. Links in the path swap mounted volumes, file servers
//! report no changes, and the system may have too few watches. Regular reads at the polling interval find every change.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::debug;

/// Watches the directories in the paths of some files.
#[derive(Default)]
pub(super) struct Hints {
    changed: Arc<Notify>,
    watching: Mutex<Watching>,
}

#[derive(Default)]
struct Watching {
    places: Places,
    watcher: Option<RecommendedWatcher>,
    said_impossible: bool,
}

/// Names in directories to watch. A directory that was re-created counts as another one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Places {
    names: BTreeSet<(PathBuf, OsString)>,
    directories: BTreeMap<PathBuf, Option<(u64, u64)>>,
}

impl Hints {
    /// Ends when a change has happened since the last call ended.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Watches the paths of these files. Call it before reading them, or a change could be missed.
    pub(super) fn watch<'a>(&self, paths: impl Iterator<Item = &'a Path>) {
        let mut watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = Places::default();
        paths.for_each(|path| places.add(path));
        if watching.places == places && watching.watcher.is_some() {
            return;
        }
        let (watcher, error) = watcher(&places, &self.changed);
        if let Some(error) = error
            && !std::mem::replace(&mut watching.said_impossible, true)
        {
            debug!(%error, "some files can not be watched; they are only polled");
        }
        (watching.places, watching.watcher) = (places, watcher);
    }
}

/// Makes a watcher for all places that can be watched. The error is that of a place that can not.
fn watcher(places: &Places, changed: &Arc<Notify>) -> (Option<RecommendedWatcher>, Option<notify::Error>) {
    let (relevant, changed) = (places.clone(), changed.clone());
    let on_event = move |event: notify::Result<Event>| {
        // After an error, the next poll finds the change.
        if event.is_ok_and(|event| relevant.are_touched_by(&event)) {
            changed.notify_one();
        }
    };
    let mut watcher = match RecommendedWatcher::new(on_event, Config::default()) {
        Ok(watcher) => watcher,
        Err(error) => return (None, Some(error)),
    };
    let watched = places.directories.keys().map(|place| watcher.watch(place, RecursiveMode::NonRecursive));
    let error = watched.filter_map(Result::err).last();
    (Some(watcher), error)
}

/// The kernel follows this many links, too.
const MAX_LINKS: usize = 40;

impl Places {
    /// Adds the file, every link in its path, and the first part that is missing.
    fn add(&mut self, path: &Path) {
        let Ok(path) = std::path::absolute(path) else { return };
        let mut ahead = reversed(&path);
        let mut directory = PathBuf::new();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            let here = directory.join(&name);
            let kind = here.symlink_metadata().map(|metadata| metadata.file_type());
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && !ahead.is_empty() {
                // `/` and `..` have no name of their own; the path is resolved up to here.
                directory = if name == ".." { parent(&directory) } else { here };
                continue;
            }
            self.add_name(&directory, name);
            match here.read_link() {
                Ok(target) if links < MAX_LINKS => {
                    links += 1;
                    ahead.extend(reversed(&target));
                    if target.is_absolute() {
                        directory = PathBuf::new();
                    }
                }
                _ => return,
            }
        }
    }

    fn add_name(&mut self, directory: &Path, name: OsString) {
        self.directories.insert(directory.to_owned(), inode(directory));
        self.names.insert((directory.to_owned(), name));
    }

    fn are_touched_by(&self, event: &Event) -> bool {
        // Reads, most of them our own, do not count.
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        if event.kind.is_access() && event.kind != written {
            return false;
        }
        let is_relevant = |path: &PathBuf| {
            let name = path.parent().zip(path.file_name());
            self.directories.contains_key(path)
                || name.is_some_and(|(directory, name)| {
                    self.names.contains(&(directory.to_owned(), name.to_owned()))
                })
        };
        event.need_rescan() || event.paths.iter().any(is_relevant)
    }
}

/// The parts of a path, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.rev().map(|part| part.as_os_str().to_owned()).collect()
}

fn parent(directory: &Path) -> PathBuf {
    directory.parent().unwrap_or(directory).to_owned()
}

#[cfg(unix)]
fn inode(directory: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    directory.metadata().ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode(_: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(path: &Path) -> Vec<PathBuf> {
        let mut places = Places::default();
        places.add(path);
        let mut names: Vec<_> =
            places.names.into_iter().map(|(directory, name)| directory.join(name)).collect();
        names.sort();
        names
    }

    /// If one place can not be watched, the others still are.
    #[tokio::test]
    async fn what_can_be_watched_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        std::fs::write(&file, "").unwrap();
        let hints = Hints::default();
        let mut places = Places::default();
        places.add(&file);
        for absent in ["/absent-a", "/proc/absent/z"] {
            places.add_name(Path::new(absent), "ca.pem".into());
        }
        let (watcher, error) = watcher(&places, &hints.changed);
        assert!(watcher.is_some() && error.is_some());
        std::fs::write(&file, "changed").unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(30), hints.changed()).await.unwrap();
    }

    #[test]
    fn every_link_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let at = |name: &str| dir.join(name);
        std::fs::create_dir_all(at("volume/..1")).unwrap();
        std::fs::write(at("volume/..1/ca.pem"), "").unwrap();
        symlink("..1", at("volume/..data")).unwrap();
        symlink("..data/ca.pem", at("volume/ca.pem")).unwrap();
        symlink(at("volume"), at("absolute")).unwrap();
        symlink("volume/../volume/ca.pem", at("up")).unwrap();
        let volume = [at("volume/..1/ca.pem"), at("volume/..data"), at("volume/ca.pem")];
        assert_eq!(names(&at("volume/ca.pem")), volume);
        assert_eq!(names(&at("absolute/ca.pem")), [vec![at("absolute")], volume.to_vec()].concat());
        assert_eq!(names(&at("up")), [vec![at("up")], volume.to_vec()].concat());
        assert_eq!(names(&at("volume/./..1/../ca.pem")), volume);
        // A missing file.
        assert_eq!(names(&at("volume/absent/ca.pem")), [at("volume/absent")]);
        symlink("loop", at("loop")).unwrap();
        assert_eq!(names(&at("loop")), [at("loop")]);
    }
}

//! Whatever stands where a file should be: the last good configuration stays, the state says why, and a following good
//! set is taken.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::files::Followed;
use crate::rig::*;

/// Puts something bad in the place of each file, and checks what is said, and that the next good set is taken.
async fn each_in_turn(spoil: impl Fn(&std::path::Path), reason: &str) {
    let followed = Followed::start().await;
    for (round, name) in (1..).zip(NAMES) {
        let path = followed.files.path(name);
        std::fs::remove_file(&path).unwrap();
        spoil(&path);
        let error = followed.until_failures(round).await;
        assert_eq!(error, format!("{}: it can not be read: {reason}", path.display()));
        assert_eq!(*followed.acceptor.generations().borrow(), round);
        // Told once: the failure, and after the first round the success before it.
        assert_eq!(followed.log.take().iter().filter(|line| line.starts_with("WARN")).count(), 1);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir(&path).unwrap(),
            Ok(_) => std::fs::remove_file(&path).unwrap(),
            Err(_) => {}
        }
        let renewed = followed.pki.a.issue(typha_spec()).unwrap();
        followed.files.write_all(&[&followed.pki.a], &renewed);
        followed.until_generation(round + 1).await;
        assert!(followed.has_leaf(&renewed));
    }
}

#[tokio::test(start_paused = true)]
async fn deleted() {
    each_in_turn(|_| {}, "No such file or directory (os error 2)").await;
}

#[tokio::test(start_paused = true)]
async fn a_directory() {
    each_in_turn(|path| std::fs::create_dir(path).unwrap(), "it is not a regular file").await;
}

#[tokio::test(start_paused = true)]
async fn a_pipe_that_nobody_writes_to() {
    let pipe = |path: &std::path::Path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
    each_in_turn(pipe, "it is not a regular file").await;
}

#[tokio::test(start_paused = true)]
async fn a_link_to_itself() {
    let link = |path: &std::path::Path| symlink(path, path).unwrap();
    each_in_turn(link, "Too many levels of symbolic links (os error 40)").await;
}

#[tokio::test(start_paused = true)]
async fn a_gibibyte_of_zeros() {
    let zeros = |path: &std::path::Path| File::create(path).unwrap().set_len(1 << 30).unwrap();
    each_in_turn(zeros, "it is larger than 16 MiB; leave only what is needed in it").await;
}

#[tokio::test(start_paused = true)]
async fn without_permission() {
    let unreadable = |path: &std::path::Path| {
        File::create(path).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    };
    let probe = tempfile::tempdir().unwrap().keep();
    unreadable(&probe.join("probe"));
    let can_be_read = File::open(probe.join("probe")).is_ok();
    std::fs::remove_dir_all(probe).unwrap();
    if can_be_read {
        eprintln!("skipped: this user can read every file");
        return;
    }
    each_in_turn(unreadable, "Permission denied (os error 13)").await;
}

#[tokio::test(start_paused = true)]
async fn truncated_anywhere() {
    /// Bytes between two lengths.
    const STEP: usize = 61;
    let followed = Followed::start().await;
    let good = contents(&[&followed.pki.a], &followed.pki.leaf);
    let mut errors = 0;
    for (name, good) in NAMES.iter().zip(&good) {
        // Without the line end at its end a file is still good.
        for length in (0..good.len() - 1).step_by(STEP) {
            followed.files.write(name, &good[..length]);
            errors += 1;
            match followed.reloader.reload_now().await {
                Err(error) => {
                    assert!(error.to_string().starts_with(&followed.files.path(name).display().to_string()));
                }
                Ok(reloaded) => panic!("{name} of {length} bytes: {reloaded:?}"),
            }
        }
        followed.files.write(name, good);
        followed.reloader.reload_now().await.unwrap();
    }
    assert!(errors > 20, "{errors}");
    let state = followed.reloader.state().borrow().clone();
    assert_eq!((state.generation, state.last_error.is_none()), (1, true));
    let renewed = followed.pki.a.issue(typha_spec()).unwrap();
    followed.files.write_all(&[&followed.pki.a], &renewed);
    followed.until_generation(2).await;
}

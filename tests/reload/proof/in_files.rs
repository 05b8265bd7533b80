//! The files of one end, which change by turns, each at once.

use std::path::PathBuf;

use tempfile::TempDir;
use typha_tls::Role;
use typha_tls::config::Sources;

use super::by_turns::{NAMES, Turn, URI, World, turn};

pub(crate) struct InFiles {
    dir: TempDir,
    role: Role,
}

impl InFiles {
    /// As the first generation wants them.
    pub(crate) fn new(world: &World, role: Role) -> Self {
        let this = Self { dir: TempDir::new().unwrap(), role };
        this.write("chain.pem", &world.judge.chain_pem());
        this.write("key.pem", &world.judge.key_pem());
        this.write("ca.pem", &world.bundle_pem(turn(1)));
        this.write("calico.cfg", &this.configuration(turn(1)));
        this
    }

    pub(crate) fn sources(&self) -> Sources {
        Sources::none().with_file(self.path("calico.cfg"))
    }

    /// Writes what this generation has other than the one before it: one file.
    pub(crate) fn change_to(&self, world: &World, generation: u64) {
        let (before, now) = (turn(generation - 1), turn(generation));
        if before.ca == now.ca {
            self.write("calico.cfg", &self.configuration(now));
        } else {
            self.write("ca.pem", &world.bundle_pem(now));
        }
    }

    fn configuration(&self, turn: Turn) -> String {
        let [ca, chain, key, name, uri] = match self.role {
            Role::Felix => ["TyphaCAFile", "TyphaCertFile", "TyphaKeyFile", "TyphaCN", "TyphaURISAN"],
            _ => ["CAFile", "ServerCertFile", "ServerKeyFile", "ClientCN", "ClientURISAN"],
        };
        let path = |name| self.path(name).display().to_string();
        format!(
            "{ca}={}\n{chain}={}\n{key}={}\n{name}={}\n{uri}={URI}\n",
            path("ca.pem"),
            path("chain.pem"),
            path("key.pem"),
            NAMES[turn.name]
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, contents: &str) {
        let new = self.path("new");
        std::fs::write(&new, contents).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }
}

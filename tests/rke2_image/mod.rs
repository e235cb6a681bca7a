// SPDX-License-Identifier: Apache-2.0
//! An unpacked image with RKE2's unit, to be filled with whatever a test is about.

use std::fs;
use std::path::Path;

pub struct Image(tempfile::TempDir);

impl Image {
    pub fn new() -> Self {
        let image = Self(tempfile::tempdir().unwrap());
        image.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        image.write("etc/group", "root:x:0:\n");
        image.unit("ExecStart=/usr/local/bin/rke2 server\n");
        image
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The lines of the unit's section `Service`, below those about its environment file.
    pub fn unit(&self, service: &str) {
        let text = format!("[Service]\nEnvironmentFile=-/etc/default/%N\n{service}");
        self.write("usr/local/lib/systemd/system/rke2-server.service", &text);
        self.write("etc/systemd/system/multi-user.target.wants/rke2-server.service", "");
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

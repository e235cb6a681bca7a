// SPDX-License-Identifier: Apache-2.0
//! stub
pub struct Database {
    u: Vec<User>,
    g: Vec<Group>,
}
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub shell: String,
    pub line: u32,
}
pub struct Group {
    pub name: String,
    pub gid: u32,
    pub line: u32,
}
#[derive(PartialEq)]
pub enum Password {
    Usable,
    Locked,
}
impl Database {
    pub fn parse(p: &[u8], g: &[u8], _s: &[u8]) -> Self {
        let p = String::from_utf8_lossy(p);
        let g = String::from_utf8_lossy(g);
        Self {
            u: p.lines()
                .zip(1..)
                .filter_map(|(l, line)| {
                    let f: Vec<_> = l.split(':').collect();
                    Some(User {
                        name: f[0].into(),
                        uid: f.get(2)?.parse().ok()?,
                        gid: f.get(3)?.parse().ok()?,
                        shell: f.get(6)?.to_string(),
                        line,
                    })
                })
                .collect(),
            g: g.lines()
                .zip(1..)
                .filter_map(|(l, line)| {
                    let f: Vec<_> = l.split(':').collect();
                    Some(Group { name: f[0].into(), gid: f.get(2)?.parse().ok()?, line })
                })
                .collect(),
        }
    }
    pub fn user(&self, n: &str) -> Option<&User> {
        self.u.iter().find(|u| u.name == n)
    }
    pub fn group(&self, n: &str) -> Option<&Group> {
        self.g.iter().find(|u| u.name == n)
    }
    pub fn password(&self, _n: &str) -> Password {
        Password::Locked
    }
}

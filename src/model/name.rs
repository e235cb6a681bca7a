// SPDX-License-Identifier: Apache-2.0
//! Names in a report that another version of nodeguard may have written.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ControlId;

/// A closed set of names.
pub trait Name: Copy {
    /// Whose name this is.
    fn named(name: &str) -> Option<Self>;

    fn as_str(self) -> &'static str;
}

impl Name for ControlId {
    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|id| id.as_str() == name)
    }

    fn as_str(self) -> &'static str {
        self.as_str()
    }
}

/// One of our names, or one that is not ours: a newer nodeguard's, in a report that was read. Such a
/// report is shown with the names that it has, and nothing is decided by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named<T> {
    Known(T),
    Unknown(Box<str>),
}

impl<T: Name> Named<T> {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name.as_str(),
            Self::Unknown(name) => name,
        }
    }

    /// `None`: it is not one of ours.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(name) => Some(*name),
            Self::Unknown(_) => None,
        }
    }
}

impl<T> From<T> for Named<T> {
    fn from(name: T) -> Self {
        Self::Known(name)
    }
}

/// The name in a report that has none.
impl<T> Default for Named<T> {
    fn default() -> Self {
        Self::Unknown("".into())
    }
}

impl<T: PartialEq> PartialEq<T> for Named<T> {
    fn eq(&self, other: &T) -> bool {
        matches!(self, Self::Known(name) if name == other)
    }
}

impl<T: Name> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: Name> Serialize for Named<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Name> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(deserializer)?;
        Ok(T::named(&name).map_or_else(|| Self::Unknown(name.into()), Self::Known))
    }
}

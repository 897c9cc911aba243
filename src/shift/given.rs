//! The parts of the data are the split, as public data sets come; what a data set lacks can be carved out of train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::{By, hold_out};
use super::{Assigned, Log, Role, ShiftError, SplitRule, shares_mistake};

/// Which part of the data has which role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub train: String,
    #[serde(default)]
    pub valid: Option<String>,
    /// Test in distribution.
    #[serde(default)]
    pub iid: Option<String>,
    /// Test out of distribution.
    #[serde(default)]
    pub ood: Option<String>,
    /// Shares taken out of each user's training rows for roles that no part has.
    #[serde(default)]
    pub carve: Carve,
}

/// Shares of each user's training rows, taken at random.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Carve {
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub valid: f64,
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub iid: f64,
}

impl Given {
    fn parts(&self) -> impl Iterator<Item = (Role, &String)> {
        let parts = [Some(&self.train), self.valid.as_ref(), self.iid.as_ref(), self.ood.as_ref()];
        Role::USED.into_iter().zip(parts).filter_map(|(role, part)| Some((role, part?)))
    }
}

impl SplitRule for Given {
    fn mistake(&self) -> Option<String> {
        for (role, part, share) in [("valid", &self.valid, self.carve.valid), ("iid", &self.iid, self.carve.iid)] {
            if let Some(part) = part
                && share > 0.0
            {
                return Some(format!("`{role}` is the part `{part}`: it cannot be carved out of train too"));
            }
        }
        for (role, part) in self.parts() {
            if let Some((other, _)) = self.parts().find(|(other, same)| *other != role && *same == part) {
                return Some(format!("the part `{part}` cannot be both `{}` and `{}`", role.name(), other.name()));
            }
        }
        shares_mistake(&[("carve.valid", self.carve.valid), ("carve.iid", self.carve.iid)])
    }

    fn assign(&self, log: &Log, seed: u64) -> Result<Assigned, ShiftError> {
        let mut role_of_part = vec![Role::Unused; log.names.len()];
        for (role, part) in self.parts() {
            role_of_part[log.part_index(part)? as usize] = role;
        }
        let mut roles: Vec<Role> = log.part.iter().map(|&part| role_of_part[part as usize]).collect();
        if self.carve != Carve::default() {
            // Of a repeated pair no copy may stay in train while another is held out.
            log.drop_repeats(&mut roles);
            return Ok(hold_out(log, roles, By::User, self.carve.valid, self.carve.iid, seed));
        }
        Ok(roles.into())
    }
}

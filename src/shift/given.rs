//! The parts of the data are the split, as public data sets come; what a data set lacks can be carved out of train.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_user::hold_out;
use super::{Log, Roles, Rule, ShiftError, shares_mistake};

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
    pub valid: f64,
    #[serde(default)]
    pub iid: f64,
}

impl Given {
    fn parts(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let parts = [("train", Some(&self.train)), ("valid", self.valid.as_ref()), ("iid", self.iid.as_ref())];
        parts.into_iter().chain([("ood", self.ood.as_ref())]).filter_map(|(role, part)| Some((role, part?)))
    }
}

impl Rule for Given {
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
                return Some(format!("the part `{part}` cannot be both `{role}` and `{other}`"));
            }
        }
        shares_mistake(&[("carve.valid", self.carve.valid), ("carve.iid", self.carve.iid)])
    }

    fn roles(&self, log: &Log, seed: u64) -> Result<Roles, ShiftError> {
        let rows = |part: &String| {
            let no_part = || ShiftError::NoPart { part: part.clone(), names: log.names.to_vec() };
            let index = log.names.iter().position(|name| name == part).ok_or_else(no_part)?;
            Ok((0..log.rows.len()).filter(|&row| log.part[row] as usize == index).collect::<Vec<_>>())
        };
        let optional = |part: &Option<String>| part.as_ref().map(rows).transpose();
        let mut roles = Roles { train: rows(&self.train)?, ..Roles::default() };
        if self.carve != Carve::default() {
            // Of a repeated pair no copy may stay in train while another is held out.
            let distinct = log.distinct(&roles.train);
            roles = hold_out(log, &distinct, self.carve.valid, self.carve.iid, seed);
        }
        if let Some(valid) = optional(&self.valid)? {
            roles.valid = valid;
        }
        if let Some(iid) = optional(&self.iid)? {
            roles.iid = iid;
        }
        roles.ood = optional(&self.ood)?.unwrap_or_default();
        Ok(roles)
    }
}

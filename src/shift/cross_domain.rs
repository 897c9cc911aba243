//! Two domains with shared users (the protocol of RealHNS on Amazon Toy and Game): each user's last interaction in the
//! target domain is the test, the one before it validation; what comes before them is learned from, and so is everything in
//! the source domain up to the test.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::order::Order;
use super::{Assigned, Domain, Log, Role, ShiftError, SplitRule};
use crate::data::tabulate::bound;

/// `target` and `source` are parts; with `mixed`, one of them is enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CrossDomain {
    /// The part with the domain in which is recommended.
    #[serde(default)]
    pub target: Option<String>,
    /// The part with the domain that helps.
    #[serde(default)]
    pub source: Option<String>,
    /// A part with the interactions of both domains in their common order. The parts `target` and `source` then only tell
    /// which items are theirs; if just one of them is named, all other items belong to the other domain.
    #[serde(default)]
    pub mixed: Option<String>,
    #[serde(default)]
    pub order: Order,
    /// Users with fewer interactions to learn from in the target domain are left out.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_target: u32,
    /// Users with fewer interactions to learn from in the source domain are left out.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_source: u32,
}

fn two() -> u32 {
    2
}

fn one() -> u32 {
    1
}

impl CrossDomain {
    /// The domain of each item, as the parts tell; where they do not, that without a part.
    fn domains(&self, log: &Log) -> Result<Vec<Option<Domain>>, ShiftError> {
        let mut of_part = vec![None; log.names.len()];
        for (part, domain) in [(&self.target, Domain::Target), (&self.source, Domain::Source)] {
            if let Some(part) = part {
                of_part[log.part_index(part)? as usize] = Some(domain);
            }
        }
        let other = match (&self.target, &self.source) {
            (Some(_), None) => Some(Domain::Source),
            (None, Some(_)) => Some(Domain::Target),
            _ => None,
        };
        let mut domains = vec![None; bound(&log.rows.item)];
        for (&item, &part) in log.rows.item.iter().zip(log.part) {
            let (known, told) = (&mut domains[item as usize], of_part[part as usize]);
            if told.is_some() && known.is_some() && *known != told {
                return Err(ShiftError::SharedItems);
            }
            *known = known.or(told);
        }
        domains.iter_mut().for_each(|domain| *domain = domain.or(other));
        Ok(domains)
    }
}

impl SplitRule for CrossDomain {
    fn mistake(&self) -> Option<String> {
        let parts = [&self.target, &self.source, &self.mixed];
        let twice = |part: &&String| parts.iter().filter(|other| other.as_ref() == Some(*part)).count() > 1;
        if let Some(part) = parts.into_iter().flatten().find(twice) {
            return Some(format!("`{part}` is named twice: `target`, `source` and `mixed` are different parts"));
        }
        match (&self.target, &self.source, &self.mixed) {
            (None, None, _) => Some("`target` and `source` name the parts of two domains".to_owned()),
            (None, _, None) | (_, None, None) => {
                Some("without `mixed`, both `target` and `source` are needed".to_owned())
            }
            (_, _, None) if self.order == Order::Rows => {
                Some("`order: rows` needs `mixed`: two parts do not tell in which order their rows happened".to_owned())
            }
            _ => None,
        }
    }

    fn assign(&self, log: &Log, _seed: u64) -> Result<Assigned, ShiftError> {
        let domains = self.domains(log)?;
        let mixed = self.mixed.as_ref().map(|part| log.part_index(part)).transpose()?;
        let domain = |row: usize| domains[log.rows.item[row] as usize];
        let mut roles = vec![Role::Unused; log.rows.len()];
        for (row, role) in roles.iter_mut().enumerate() {
            match (mixed, domain(row)) {
                (Some(mixed), None) if log.part[row] == mixed => return Err(ShiftError::NoDomain),
                (Some(mixed), _) if log.part[row] != mixed => {}
                (_, Some(_)) => *role = Role::Train,
                // A third part, which is neither domain's.
                (_, None) => {}
            }
        }
        let ties = self.order.each_user(log, &mut roles, &[Role::Valid, Role::Iid], |_, own| {
            let is = |at: &usize, wanted| domain(own[*at] as usize) == Some(wanted);
            let at_target: Vec<usize> = (0..own.len()).filter(|at| is(at, Domain::Target)).collect();
            let &[ref learned @ .., valid, test] = &at_target[..] else { return vec![(Role::Unused, 0..own.len())] };
            let sources = (0..test).filter(|at| is(at, Domain::Source)).count();
            if learned.len() < self.min_target as usize || sources < self.min_source as usize {
                return vec![(Role::Unused, 0..own.len())];
            }
            vec![(Role::Valid, valid..valid + 1), (Role::Iid, test..test + 1), (Role::Unused, test + 1..own.len())]
        })?;
        Ok(Assigned { domains: Some(domains), ties, ..roles.into() })
    }
}

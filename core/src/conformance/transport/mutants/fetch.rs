//! Flaws of fetching.

use super::Mutant;

/// The flaws, each for its case.
pub(super) const MUTANTS: &[Mutant] = &[];

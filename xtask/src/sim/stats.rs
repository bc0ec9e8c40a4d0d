//! `cargo xtask sim stats`: how many clean seeds show that a failure is gone.
//!
//! A failure that hits one seed in so many is gone with some confidence when so many seeds are
//! clean: the rule of three, for any confidence. Its hit rate is known from few failures only, so
//! the lower end of its interval (Clopper and Pearson) is taken.

use clap::Args;

use crate::counts::Usage;

/// How sure the lower end of the hit rate is.
const BOUND_CONFIDENCE: f64 = 0.95;

#[derive(Args)]
pub struct Options {
    /// How many seeds failed.
    #[arg(long, value_name = "K", requires = "seeds", conflicts_with = "rate")]
    failures: Option<u64>,
    /// Of how many seeds.
    #[arg(long, value_name = "N", requires = "failures")]
    seeds: Option<u64>,
    /// The hit rate, when it is known: 0.01 for one seed in a hundred.
    #[arg(long, value_name = "P")]
    rate: Option<f64>,
    /// How sure it is to be.
    #[arg(long, value_name = "C", default_value_t = 0.999)]
    confidence: f64,
}

/// Prints how many seeds it takes.
pub fn run(options: &Options) -> anyhow::Result<()> {
    println!("{}", answer(options)?);
    Ok(())
}

fn answer(options: &Options) -> anyhow::Result<String> {
    let Options { failures, seeds, rate, confidence } = options;
    if !(*confidence > 0.0 && *confidence < 1.0) {
        return Err(Usage("--confidence must lie between 0 and 1".to_owned()).into());
    }
    let (rate, known) = match (rate, failures.zip(*seeds)) {
        (Some(rate), _) if *rate > 0.0 && *rate <= 1.0 => (*rate, format!("a rate of {rate}")),
        (Some(_), _) => return Err(Usage("--rate must lie between 0 and 1".to_owned()).into()),
        (None, Some((failures, seeds))) if failures >= 1 && failures <= seeds => {
            let least = least_rate(failures, seeds, BOUND_CONFIDENCE);
            let known = format!(
                "{failures} of {seeds} seeds failed: a rate of {:.4}, and of {least:.4} at least \
                 (Clopper-Pearson, {BOUND_CONFIDENCE})",
                failures as f64 / seeds as f64
            );
            (least, known)
        }
        (None, Some(_)) => {
            let message = "--failures must be at least 1 and at most --seeds".to_owned();
            return Err(Usage(message).into());
        }
        (None, None) => {
            let message = "say --failures K --seeds N, or --rate P".to_owned();
            return Err(Usage(message).into());
        }
    };
    let clean = clean_seeds(rate, *confidence);
    Ok(format!("{known}\n{clean} clean seeds make it {confidence} sure that it is gone"))
}

/// How many clean seeds are that unlikely when the failure is still there.
fn clean_seeds(rate: f64, confidence: f64) -> u64 {
    if rate >= 1.0 {
        return 1;
    }
    // ln(1 - rate), exact for small rates, too.
    ((1.0 - confidence).ln() / (-rate).ln_1p()).ceil().max(1.0) as u64
}

/// The rate at which so many failures or more are just as likely as the confidence leaves open.
fn least_rate(failures: u64, seeds: u64, confidence: f64) -> f64 {
    let (mut low, mut high) = (0.0, failures as f64 / seeds as f64);
    for _ in 0..100 {
        let rate = f64::midpoint(low, high);
        if at_least(failures, seeds, rate) < 1.0 - confidence {
            low = rate;
        } else {
            high = rate;
        }
    }
    low
}

/// How likely so many failures or more are, in so many seeds.
fn at_least(failures: u64, seeds: u64, rate: f64) -> f64 {
    if rate <= 0.0 {
        return 0.0;
    }
    let (log, log_not) = (rate.ln(), (-rate).ln_1p());
    let mut log_choose = 0.0;
    let mut sum = 0.0;
    for count in 0..=seeds {
        if count >= failures {
            sum += (log_choose + count as f64 * log + (seeds - count) as f64 * log_not).exp();
        }
        log_choose += ((seeds - count) as f64 / (count + 1) as f64).max(f64::MIN_POSITIVE).ln();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_three_and_its_kin() {
        let table =
            [(0.01, 0.95, 299), (0.01, 0.999, 688), (0.5, 0.999, 10), (0.001, 0.999, 6_905)];
        for (rate, confidence, seeds) in table {
            assert_eq!(clean_seeds(rate, confidence), seeds, "{rate} {confidence}");
        }
        assert_eq!(clean_seeds(1.0, 0.999), 1);
    }

    #[test]
    fn the_least_rate_is_that_of_clopper_and_pearson() {
        // Lower limits of two-sided 90 % intervals, as tables of binomial proportions have them.
        let table = [
            (1, 20, 0.002_56),
            (2, 20, 0.018_07),
            (5, 20, 0.104_08),
            (10, 100, 0.055_26),
            (1, 1, 0.05),
        ];
        for (failures, seeds, least) in table {
            let found = least_rate(failures, seeds, 0.95);
            assert!((found - least).abs() < 1e-4, "{failures} of {seeds}: {found}");
        }
    }

    #[test]
    fn an_answer_needs_a_rate_or_counts() {
        let options = |failures, seeds, rate| Options { failures, seeds, rate, confidence: 0.999 };
        let text = answer(&options(Some(3), Some(200), None)).unwrap();
        assert!(text.contains("a rate of 0.0150, and of 0.0041 at least"), "{text}");
        assert!(answer(&options(None, None, Some(0.01))).unwrap().contains("688 clean seeds"));
        for wrong in [
            options(None, None, None),
            options(Some(0), Some(9), None),
            options(Some(10), Some(9), None),
            options(None, None, Some(0.0)),
            Options { confidence: 1.0, ..options(None, None, Some(0.1)) },
        ] {
            assert!(answer(&wrong).unwrap_err().is::<Usage>());
        }
    }
}

//! From the v1 terms of the OCI runtime specification to v2's.

use super::Error;

/// `cpu.shares` (2 to 262144, 1024 is the usual) as `cpu.weight` (1 to 10000, 100 is the usual).
///
/// A quadratic in the logarithm through (2, 1), (1024, 100) and (262144, 10000), on which the kubelet, runc 1.3.2 and crun 1.23
/// have agreed: the older linear formula gave a cgroup with the usual 1024 shares a weight of only 39.
pub(crate) fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            // The subtraction keeps 1024 at 100: rounding errors must not lift a whole number to the next.
            (10f64.powf(exponent) - 1e-6).ceil() as u64
        }
    }
}

/// The most `cpu.shares` that become this `cpu.weight` or less: of every usual value the one that was asked for.
pub(super) fn cpu_shares(weight: u64) -> u64 {
    let (mut low, mut high) = (2_u64, 262_144);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if cpu_weight(middle) <= weight {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + u64::from(weight.clamp(10, 1000) - 10) * 9999 / 990
}

/// A memory limit or the like in bytes as v2 writes it.
pub(super) fn bytes_or_max(bytes: i64) -> String {
    if bytes < 0 { "max".to_owned() } else { bytes.to_string() }
}

/// The swap alone, in bytes or -1, of the v1 sum of memory and swap. `None` if nothing is to be set.
pub(crate) fn swap_alone(limit: Option<i64>, sum: Option<i64>) -> Result<Option<i64>, Error> {
    let field = "memory.swap";
    match (limit.unwrap_or(0), sum.unwrap_or(0)) {
        (-1, 0) | (_, -1) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (0 | -1, sum) => {
            let why = "it is the sum of memory and swap, so memory.limit is needed too";
            Err(Error::BadValue { field, value: sum.to_string(), why })
        }
        (limit, sum) if sum < limit => {
            let why = "it is the sum of memory and swap, so it cannot be less than memory.limit";
            Err(Error::BadValue { field, value: sum.to_string(), why })
        }
        (limit, sum) => Ok(Some(sum - limit)),
    }
}

#[cfg(test)]
mod tests;

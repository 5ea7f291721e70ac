//! Measurements that print ratios.

//! Other people's tools: `cast` as a client, and anvil as the measure.

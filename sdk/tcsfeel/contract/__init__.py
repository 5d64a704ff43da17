"""What requests and responses look like. Strict: unknown fields, NaN, infinities and wrong types are refused."""

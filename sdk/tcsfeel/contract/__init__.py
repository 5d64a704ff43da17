"""The models of requests and responses. Requests refuse unknown fields, NaN, infinities and wrong types."""

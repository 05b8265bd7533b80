module typha-tls-bench

go 1.24

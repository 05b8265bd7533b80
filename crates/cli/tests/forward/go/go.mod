module forward.test

go 1.22

// With this file the compiler lets main.go declare entersyscall without a body.

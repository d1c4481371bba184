// Package server is the composition root: Config, New and Run. It alone knows every part and wires them in one function.
package server

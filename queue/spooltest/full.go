//go:build !race

package spooltest

// stride is the distance of the operations that RunCrash tries.
const stride = 1

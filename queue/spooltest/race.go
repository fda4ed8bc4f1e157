//go:build race

package spooltest

// stride is the distance of the operations that RunCrash tries. It is less than
// the number of lives, so that these together meet every operation.
const stride = 3

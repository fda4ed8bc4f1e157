//go:build !race

package queue_test

// listSize is how many recipients the list of TestSmallOvertakesList has.
const listSize = 50_000

//go:build !race

package queue_test

// listSize is how many recipients big lists have in tests.
const listSize = 50_000

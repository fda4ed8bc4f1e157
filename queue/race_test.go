//go:build race

package queue_test

// listSize is how many recipients big lists have in tests.
const listSize = 5000

// simulated is how many messages TestSixDays has.
const simulated = 1000

// storms is how many seeds TestStorm has.
const storms = 2

//go:build race

package e2e

// withRace says that this test was built with the race detector, and that the
// program under test should be too.
const withRace = true

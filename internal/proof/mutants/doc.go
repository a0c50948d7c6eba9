// Package mutants checks the checker: it plants bugs in Ackmark, one at a time, and demands that
// each is caught by name.
//
// A bug is a text file in bugs/: what the promise is that it breaks, which text of which production
// file it replaces, the scenario that it is run in, and the name of the violation that must be
// found. The production code has no seams for this. The test writes copies of the files with all
// bugs in them behind one switch, and builds a test binary of package scenarios from those copies
// (go build -overlay), and one of each package that judges a bug itself. Then it runs each bug's
// scenario with that bug switched on, and every scenario with none.
//
//	make mutants                                  # all: ends with "N of N caught"
//	make mutants-often                            # each five times: none may be caught by luck
//	go test ./internal/proof/mutants -run TestMutants/with/mark-off-by-one -v
//
// # Format of a bug
//
//	# Why somebody would write it, and what it breaks.
//	scenario: outage
//	caught by: S1 premature commit
//	-- find pipeline/flight.go
//	text that occurs exactly once in that file
//	-- replace
//	what takes its place; PLANTED is true when this bug is switched on
//
// Where a test of a package is the natural judge, "package: ./consumer" and "test: TestName" take
// the place of "scenario:", and "caught by:" is the name of a test that fails. Those packages' test
// binaries are built from the same copies and run with -short.
//
// There may be several pairs of find and replace. A text that is not found, or found twice, fails
// the test: the code moved, and the bug has to move with it.
package mutants

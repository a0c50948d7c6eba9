// Package verify tells whether Ackmark kept its promises: it generates inputs that can be
// recognised in any output, and checks the invariants S1 to S12 (DESIGN.md, "The invariants") from
// what independent observers saw.
//
//   - [Generator] makes the inputs. Each value carries key, sequence number within the key and a
//     global id, and survives strings.ToUpper.
//   - [Outputs] checks what a reader of the output topic saw: lost, duplicated, reordered per key,
//     unknown. It needs nothing but two topics (package reader reads them), so it is the same for the
//     simulation lab and for real brokers. The counting is package judge's, which the demo and the
//     bench use for their own inputs.
//   - [Checker] follows one group online, from three vantage points, and fails at the very event
//     that breaks a promise. The broker's log and group state (package brokerwatch) give S1, S2, S3,
//     S6, S7, S8 and S10; the seam between pipeline and producer (package spy) gives S4 and S12; the
//     handler gives S11. What nobody feeds is not checked: [Checker.Summary] says what was seen.
//
// A broken promise is a [Violation] with a [Name] that tests compare. The planted bugs of `make
// mutants` are caught by these names.
package verify

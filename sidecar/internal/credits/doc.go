// Package credits divides what sessions may have outstanding among those that are open. It is pure:
// no lock, clock or message; its owner sends what it says and tells it what came back.
//
// Every session has its floor, which nobody else can take. What lies beyond the floors is divided
// equally among those that are at work, up to a largest part for one: who rests has its floor while
// there is not enough for all. Who comes gets what is free at once, and the rest when the others
// gave it back.
//
// A credit grows at once. It shrinks in three steps, because units may be under way that were sent
// under the larger one: the client is told; its word comes back behind everything that it sent
// before; and what is outstanding then comes back with its reports. Until each step is done the
// memory counts as lent, so a client that never answers keeps what it has, and the sum holds.
package credits

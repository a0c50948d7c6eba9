package verify

import "math/rand/v2"

// GeneratorConfig shapes the inputs. The zero value is usable; equal configs generate equal inputs.
type GeneratorConfig struct {
	Seed uint64
	// Keys is the number of distinct keys. Default 100.
	Keys int
	// Size is the least size of a value in bytes; what it says about itself needs about 60. Default
	// 100.
	Size int
}

// Generator makes inputs. It is not safe for concurrent use.
type Generator struct {
	cfg  GeneratorConfig
	rng  *rand.Rand
	next uint64
	seqs []uint64
	text []byte
}

// Input is one generated input.
type Input struct {
	ID    ID
	Key   []byte
	Value []byte
}

// NewGenerator returns a generator that starts at id 0.
func NewGenerator(cfg GeneratorConfig) *Generator {
	if cfg.Keys <= 0 {
		cfg.Keys = 100
	}
	if cfg.Size <= 0 {
		cfg.Size = 100
	}
	return &Generator{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x61636b6d61726b)), seqs: make([]uint64, cfg.Keys)}
}

// Next makes the next input, filled up to the configured size.
func (g *Generator) Next() Input {
	in := g.input(g.id(), nil)
	for len(g.text) < g.cfg.Size {
		g.text = append(g.text, "the quick brown fox jumps over the lazy dog. "...)
	}
	return g.input(in.ID, g.text[:max(0, g.cfg.Size-len(in.Value))])
}

// NextText makes the next input from somebody's text, a line of a file for example.
func (g *Generator) NextText(text []byte) Input { return g.input(g.id(), text) }

// Made returns how many inputs were made: their ids are 0 to Made()-1.
func (g *Generator) Made() uint64 { return g.next }

func (g *Generator) id() ID {
	key := g.rng.IntN(g.cfg.Keys)
	id := ID{Global: g.next, Key: uint32(key), Seq: g.seqs[key]}
	g.next++
	g.seqs[key]++
	return id
}

func (g *Generator) input(id ID, text []byte) Input {
	return Input{ID: id, Key: KeyBytes(id.Key), Value: AppendValue(make([]byte, 0, len(text)+64), id, text)}
}

package consumer

import (
	"regexp"
	"slices"
)

// Reads tells whether the topic is one of those that the consumer was told to read: by Topics or Regex, or by ConsumeTopics,
// ConsumeRegex and ConsumeExcludeTopics in Options. It asks no broker.
func (c *Consumer) Reads(topic string) bool { return c.cfg.reads(topic) }

// Subscription is what the consumer was told to read, Options included: topics by name, or a regular expression.
func (c *Consumer) Subscription() (topics []string, regex string) {
	return slices.Clone(c.cfg.Topics), c.cfg.Regex
}

// Group is the consumer group, which Options may have named.
func (c *Consumer) Group() string { return c.cfg.Group }

func (cfg *Config) reads(topic string) bool {
	if cfg.Regex == "" {
		return slices.Contains(cfg.Topics, topic)
	}
	matches := func(expr string) bool {
		re, err := regexp.Compile(expr)
		return err == nil && re.MatchString(topic)
	}
	return matches(cfg.Regex) && !slices.ContainsFunc(cfg.excluded, matches)
}

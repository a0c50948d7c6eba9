package main

import (
	"fmt"

	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// breaks says what of the files before is gone or means something else in those of after. What was
// added is no break; nor is presence (optional) given to a field: the bytes are the same.
func breaks(before, after linker.Files) []string {
	c := comparison{after: after.AsResolver()}
	for _, file := range before {
		now := after.FindFileByPath(file.Path())
		if now == nil {
			c.say(file, "file %s is gone", file.Path())
			continue
		}
		c.same(file, "package", file.Package(), now.Package())
		c.same(file, "syntax", file.Syntax(), now.Syntax())
		c.messages(file.Messages())
		c.enums(file.Enums())
		c.services(file.Services())
	}
	return c.breaks
}

type comparison struct {
	after  linker.Resolver
	breaks []string
}

func (c *comparison) say(what protoreflect.Descriptor, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if name := what.FullName(); name != "" {
		text = string(name) + ": " + text
	}
	c.breaks = append(c.breaks, text)
}

func (c *comparison) same(what protoreflect.Descriptor, aspect string, before, after any) {
	if before != after {
		c.say(what, "%s was %v, is %v", aspect, before, after)
	}
}

// find is what has the name of a descriptor now, if it is of the same kind.
func find[D protoreflect.Descriptor](c *comparison, before D) (D, bool) {
	d, err := c.after.FindDescriptorByName(before.FullName())
	now, ok := d.(D)
	if err != nil || !ok {
		c.say(before, "is gone")
	}
	return now, err == nil && ok
}

func (c *comparison) messages(list protoreflect.MessageDescriptors) {
	for i := range list.Len() {
		before := list.Get(i)
		now, ok := find(c, before)
		if !ok {
			continue
		}
		for i := range before.Fields().Len() {
			c.field(before.Fields().Get(i), now)
		}
		for i := range before.ReservedRanges().Len() {
			r := before.ReservedRanges().Get(i)
			for n := r[0]; n < r[1] && n < r[0]+1000; n++ {
				if !now.ReservedRanges().Has(n) {
					c.say(before, "number %d was reserved", n)
				}
			}
		}
		for i := range before.ReservedNames().Len() {
			if name := before.ReservedNames().Get(i); !now.ReservedNames().Has(name) {
				c.say(before, "name %q was reserved", name)
			}
		}
		c.messages(before.Messages())
		c.enums(before.Enums())
	}
}

func (c *comparison) field(before protoreflect.FieldDescriptor, message protoreflect.MessageDescriptor) {
	now := message.Fields().ByNumber(before.Number())
	if now == nil {
		c.say(before, "field %d is gone", before.Number())
		return
	}
	c.same(before, "name", before.Name(), now.Name())
	c.same(before, "JSON name", before.JSONName(), now.JSONName())
	c.same(before, "type", typeOf(before), typeOf(now))
	c.same(before, "repeated", before.Cardinality() == protoreflect.Repeated, now.Cardinality() == protoreflect.Repeated)
	c.same(before, "oneof", oneofOf(before), oneofOf(now))
	if before.HasOptionalKeyword() && !now.HasOptionalKeyword() {
		c.say(before, "was optional, and absent is no longer told from zero")
	}
}

// typeOf is what the bytes mean: the kind, and the name of the message or enum.
func typeOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return fmt.Sprintf("%s %s", f.Kind(), f.Message().FullName())
	case f.Enum() != nil:
		return fmt.Sprintf("%s %s", f.Kind(), f.Enum().FullName())
	}
	return f.Kind().String()
}

// oneofOf names the oneof of a field; the one that the compiler makes of optional is none.
func oneofOf(f protoreflect.FieldDescriptor) protoreflect.Name {
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return o.Name()
	}
	return ""
}

func (c *comparison) enums(list protoreflect.EnumDescriptors) {
	for i := range list.Len() {
		before := list.Get(i)
		now, ok := find(c, before)
		if !ok {
			continue
		}
		for i := range before.Values().Len() {
			value := before.Values().Get(i)
			if v := now.Values().ByNumber(value.Number()); v == nil {
				c.say(value, "number %d is gone", value.Number())
			} else {
				c.same(value, "name", value.Name(), v.Name())
			}
		}
	}
}

func (c *comparison) services(list protoreflect.ServiceDescriptors) {
	for i := range list.Len() {
		before := list.Get(i)
		if _, ok := find(c, before); !ok {
			continue
		}
		for i := range before.Methods().Len() {
			method := before.Methods().Get(i)
			now, ok := find(c, method)
			if !ok {
				continue
			}
			c.same(method, "request", method.Input().FullName(), now.Input().FullName())
			c.same(method, "response", method.Output().FullName(), now.Output().FullName())
			c.same(method, "stream of requests", method.IsStreamingClient(), now.IsStreamingClient())
			c.same(method, "stream of responses", method.IsStreamingServer(), now.IsStreamingServer())
		}
	}
}

package main

import "fmt"

func table(r *result) string { return fmt.Sprintf("%+v\n", r) }
func page(r *result) string  { return "" }
func plot(r *result) string  { return "" }

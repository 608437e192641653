import SavedState

/// Throws `SavedStateError.corrupt`, naming the section, unless `condition` holds. For values a device could never
/// have had: a saved state may come from the wire.
public func requireValid(
  _ condition: Bool, in section: StateSection, _ what: @autoclosure () -> String
) throws(SavedStateError) {
  guard condition else { throw .corrupt("section \(section.name): \(what())") }
}

/// `value * numerator / denominator`, rounded down, with a 128-bit product: for turning nanoseconds into ticks.
@inline(__always)
public func scaled(_ value: UInt64, by numerator: UInt64, over denominator: UInt64) -> UInt64 {
  let product = value.multipliedFullWidth(by: numerator)
  guard product.high < denominator else { return .max }
  return denominator.dividingFullWidth(product).quotient
}

/// As `scaled`, rounded up: for turning ticks into the first nanosecond at which they have all passed.
@inline(__always)
public func scaledUp(_ value: UInt64, by numerator: UInt64, over denominator: UInt64) -> UInt64 {
  let product = value.multipliedFullWidth(by: numerator)
  guard product.high < denominator else { return .max }
  let result = denominator.dividingFullWidth(product)
  return result.remainder == 0 ? result.quotient : result.quotient &+ 1
}

/// A device of byte-wide registers on consecutive ports. A wider access is the bus's several byte accesses, lowest
/// port first, as the ISA bus does it.
public protocol BytePortIO: PortIO {
  func readByte(_ port: UInt16) -> UInt8
  func writeByte(_ port: UInt16, _ value: UInt8)
}

extension BytePortIO {
  public func readPort(_ port: UInt16, size: Int) -> UInt32 {
    if size == 1 { return UInt32(readByte(port)) }
    var value: UInt32 = 0
    for index in 0..<size { value |= UInt32(readByte(port &+ UInt16(index))) &<< UInt32(index &* 8) }
    return value
  }

  public func writePort(_ port: UInt16, size: Int, value: UInt32) {
    if size == 1 { return writeByte(port, UInt8(truncatingIfNeeded: value)) }
    for index in 0..<size {
      writeByte(port &+ UInt16(index), UInt8(truncatingIfNeeded: value &>> UInt32(index &* 8)))
    }
  }
}

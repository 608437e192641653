/// What instructions have in common that differ in displacement and immediate only: such a form is decoded once.
///
/// Displacement and immediate are an instruction's last bytes, and where they begin follows from the bytes before. So forms
/// are the leaves of a tree: each of those bytes leads to the next node, until the form is known.
struct HostForms {
  /// An instruction of the form, and where in its bytes the values are that others of the form have their own of.
  struct Form {
    var it: HostInstruction
    var displacement = Field()
    var immediate = Field()
    var isRelative = false
  }

  /// A number within an instruction, little-endian; none where `bytes` is 0.
  struct Field {
    var offset = 0
    var bytes = 0
    var isSigned = true

    @inline(__always)
    func value(_ code: UnsafePointer<UInt8>) -> Int64 {
      let place = UnsafeRawPointer(code + offset)
      switch bytes {
      case 1: return isSigned ? Int64(place.load(as: Int8.self)) : Int64(place.load(as: UInt8.self))
      case 2:
        return isSigned ? Int64(place.loadUnaligned(as: Int16.self)) : Int64(place.loadUnaligned(as: UInt16.self))
      case 4:
        return isSigned ? Int64(place.loadUnaligned(as: Int32.self)) : Int64(place.loadUnaligned(as: UInt32.self))
      default: return place.loadUnaligned(as: Int64.self)
      }
    }
  }

  /// A KiB each. What comes when so many are taken is decoded each time.
  private static let mostNodes = 2048

  private var forms: ContiguousArray<Form> = []
  /// 256 of a node: 0 where nothing is known, a node's number, or -1 less a form's.
  private var next = ContiguousArray<Int32>(repeating: 0, count: 256)

  /// The instruction whose form is known at `code + offset`; nil also when it is longer than what is there.
  @inline(__always)
  func find(_ code: UnsafePointer<UInt8>, _ offset: Int, _ length: Int) -> HostInstruction? {
    next.withUnsafeBufferPointer { next in
      var node = 0
      var place = offset
      while place < length {
        let found = Int(next[node << 8 | Int(code[place])])
        if found == 0 { return nil }
        place += 1
        if found > 0 {
          node = found
          continue
        }
        return forms.withUnsafeBufferPointer { Self.instruction($0.baseAddress! + (-1 - found), code, offset, length) }
      }
      return nil
    }
  }

  @inline(__always)
  private static func instruction(
    _ form: UnsafePointer<Form>, _ code: UnsafePointer<UInt8>, _ offset: Int, _ length: Int
  ) -> HostInstruction? {
    var it = form.pointee.it
    guard offset + it.length <= length else { return nil }
    it.offset = offset
    let own = code + offset
    if form.pointee.displacement.bytes != 0 { it.memory?.displacement = form.pointee.displacement.value(own) }
    if form.pointee.immediate.bytes != 0 {
      let value = form.pointee.immediate.value(own)
      if form.pointee.isRelative { it.target = offset + it.length + Int(value) } else { it.immediate = value }
    }
    return it
  }

  /// `form` is known by the first `bytes` of its instruction.
  mutating func add(_ form: Form, _ code: UnsafePointer<UInt8>, bytes: Int) {
    guard next.count >> 8 + bytes <= Self.mostNodes else { return }
    var node = 0
    for place in 0..<bytes {
      let slot = node << 8 | Int(code[place])
      let isLast = place == bytes - 1
      if isLast || next[slot] < 0 {
        guard isLast, next[slot] == 0 else { return }
        next[slot] = -1 - Int32(forms.count)
        forms.append(form)
        return
      }
      if next[slot] == 0 {
        next[slot] = Int32(next.count >> 8)
        next.append(contentsOf: repeatElement(0, count: 256))
      }
      node = Int(next[slot])
    }
  }
}

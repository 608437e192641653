import CHost

extension CPU {
  /// The registers as text, for `debugvm getregisters`. Called at a safe point.
  public func registersDump() -> String {
    let names = [
      "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
    ]
    var lines: [String] = []
    for row in 0..<4 {
      let cells = (0..<4).map { column in
        let number = row * 4 + column
        return pad(names[number]) + "=" + hex(slots[number], 16)
      }
      lines.append(cells.joined(separator: " "))
    }
    lines.append("RIP=\(hex(s.pointee.rip, 16)) RFLAGS=\(hex(flagsImage(), 8)) [\(flagNames())] CPL=\(s.pointee.cpl)")
    let segmentNames = ["ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"]
    for (number, name) in segmentNames.enumerated() {
      let register = segmentRegister(number).pointee
      let place = "\(hex(register.base, 16)) limit \(hex(UInt64(register.limit), 8))"
      lines.append(
        "\(pad(name))=\(hex(UInt64(register.selector), 4)) base \(place) attributes \(hex(UInt64(register.attributes), 4))"
      )
    }
    for (name, table) in [("GDTR", s.pointee.gdtr), ("IDTR", s.pointee.idtr)] {
      lines.append("\(name) base \(hex(table.base, 16)) limit \(hex(UInt64(table.limit), 4))")
    }
    let state = s.pointee
    lines.append(
      "CR0=\(hex(state.cr0, 8)) CR2=\(hex(state.cr2, 16)) CR3=\(hex(state.cr3, 16)) CR4=\(hex(state.cr4, 8))"
        + " EFER=\(hex(state.efer, 4))")
    let debug = (0..<4).map { "DR\($0)=\(hex(debugRegisters[$0], 16))" }
    lines.append(debug.joined(separator: " "))
    lines.append("DR6=\(hex(debugRegisters[6], 8)) DR7=\(hex(debugRegisters[7], 8))")
    let activities = ["active", "halted", "shut down", "waiting for SIPI"]
    let activity = Int(state.activity) < activities.count ? activities[Int(state.activity)] : "?"
    lines.append("\(modeName()), \(activity), \(state.instructions) instructions")
    return lines.joined(separator: "\n")
  }

  private func hex(_ value: UInt64, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.count)) + text
  }

  private func pad(_ name: String) -> String { name + String(repeating: " ", count: max(0, 3 - name.count)) }

  private func flagNames() -> String {
    let names: [(String, UInt64)] = [
      ("CF", EFLAGS.cf), ("PF", EFLAGS.pf), ("AF", EFLAGS.af), ("ZF", EFLAGS.zf), ("SF", EFLAGS.sf),
      ("TF", EFLAGS.tf), ("IF", EFLAGS.if), ("DF", EFLAGS.df), ("OF", EFLAGS.of), ("NT", EFLAGS.nt),
      ("VM", EFLAGS.vm), ("AC", EFLAGS.ac),
    ]
    let image = flagsImage()
    return names.filter { image & $0.1 != 0 }.map(\.0).joined(separator: " ")
  }

  private func modeName() -> String {
    let bits: String
    switch Int(s.pointee.mode & UInt32(VM_MODE_CODE_MASK)) {
    case VM_MODE_CODE64: return "64-bit mode"
    case VM_MODE_CODE32: bits = "32-bit"
    default: bits = "16-bit"
    }
    if isLongMode { return "compatibility mode, \(bits)" }
    if isV86 { return "virtual-8086 mode" }
    return isProtected ? "protected mode, \(bits)" : "real mode"
  }
}

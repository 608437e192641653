/// The board as ACPI sees it: the definition block of the DSDT.
///
/// Source: ACPI Specification 2.0, 6 (configuration), 7.3.4 (_S5_); the devices' data sheets.
enum DSDT {
  /// What of the board a definition decides.
  struct Board {
    var cpus: Int
    /// Slot (1 to 4), first port and interrupt of each UART.
    var uarts: [(slot: Int, ioBase: UInt16, irq: Int)]
    /// Slot (1 to 8), first port and interrupt of each NE2000 on the ISA bus.
    var ethernet: [(slot: Int, ioBase: UInt16, irq: Int)] = []
    /// The floppy controller.
    var hasFloppy = false
    var hasHPET: Bool
    /// The port of the panic device; nil: there is none.
    var panicPort: UInt16?
    /// The first address above RAM that PCI memory may have.
    var pciMemoryStart: UInt32
  }

  static let links = ["LNKA", "LNKB", "LNKC", "LNKD"]
  /// The interrupts that firmware and systems steer PCI's to.
  static let linkInterrupts: [UInt32] = [5, 10, 11]

  /// The terms behind the table's header.
  static func body(_ board: Board) -> AML.Code {
    processors(board) + AML.scope("\\_SB", hostBridge(board), links.indices.flatMap { link($0, board) }) + sleepStates
  }

  private static func processors(_ board: Board) -> AML.Code {
    let digits = Array("0123456789ABCDEF")
    let all = (0..<board.cpus).flatMap { AML.processor("CP0\(digits[$0 & 15])", id: UInt8($0)) }
    return AML.scope("\\_PR", all)
  }

  /// S5 alone: the value that its PM1 control register takes.
  private static var sleepStates: AML.Code {
    AML.named("\\_S5", AML.packageOf([AML.number(0), AML.number(0), AML.number(0), AML.number(0)]))
  }

  private static func hostBridge(_ board: Board) -> AML.Code {
    var resources = [
      AML.busRange(0, 0xFF), AML.io(0xCF8, length: 8), AML.ioRange(0, 0xCF7), AML.ioRange(0xD00, 0xFFFF),
      AML.memoryRange(0xA_0000, 0xB_FFFF, cacheable: true),
    ]
    resources.append(AML.memoryRange(board.pciMemoryStart, 0xFEBF_FFFF))
    return AML.device(
      "PCI0", AML.named("_HID", AML.eisaID("PNP0A03")), AML.named("_ADR", AML.number(0)),
      AML.named("_UID", AML.number(0)), AML.named("_CRS", AML.resources(resources)),
      AML.named("_PRT", routing), isaBridge(board), board.hasHPET ? hpet : [])
  }

  /// Which link the interrupt pin of a slot is wired to: the wire moves on by one from slot to slot.
  private static var routing: AML.Code {
    AML.packageOf(
      (1..<32).flatMap { slot in
        (0..<4).map { pin in
          AML.packageOf([
            AML.number(UInt64(slot) << 16 | 0xFFFF), AML.number(UInt64(pin)),
            AML.name("\\_SB." + links[link(slot: slot, pin: pin)]), AML.number(0),
          ])
        }
      })
  }

  /// 0 for LNKA to 3 for LNKD.
  static func link(slot: Int, pin: Int) -> Int { (slot + pin - 1) & 3 }

  private static func isaBridge(_ board: Board) -> AML.Code {
    var devices: AML.Code = []
    devices += isaDevice("RTC", "PNP0B00", [AML.io(0x70, length: 2), AML.irq(8)])
    devices += isaDevice("KBD", "PNP0303", [AML.io(0x60, length: 1), AML.io(0x64, length: 1), AML.irq(1)])
    devices += isaDevice("MOU", "PNP0F13", [AML.irq(12)])
    for uart in board.uarts {
      devices += isaDevice(
        "COM\(uart.slot)", "PNP0501", [AML.io(uart.ioBase, length: 8, alignment: 8), AML.irq(uart.irq)], uid: uart.slot)
    }
    for card in board.ethernet {
      devices += isaDevice(
        "NE\(card.slot)_", "PNP80D6", [AML.io(card.ioBase, length: 32, alignment: 32), AML.irq(card.irq)],
        uid: card.slot)
    }
    if board.hasFloppy {
      devices += isaDevice(
        "FDC0", "PNP0700", [AML.io(0x3F2, length: 4), AML.io(0x3F7, length: 1), AML.irq(6), AML.byteDMA(channel: 2)])
    }
    if let port = board.panicPort {
      devices += AML.device(
        "PEVT", AML.named("_HID", AML.text("QEMU0001")), AML.named("_STA", AML.number(0x0F)),
        AML.named("_CRS", AML.resources([AML.io(port, length: 1)])))
    }
    return AML.device(
      "ISA", AML.named("_ADR", AML.number(0x1_0000)), AML.pciConfigRegion("PIRQ", offset: 0x60, length: 4),
      AML.byteFields(of: "PIRQ", routeControls), devices)
  }

  private static func isaDevice(_ name: String, _ id: String, _ resources: [AML.Code], uid: Int? = nil) -> AML.Code {
    AML.device(
      name, AML.named("_HID", AML.eisaID(id)), uid.map { AML.named("_UID", AML.number(UInt64($0))) } ?? [],
      AML.named("_CRS", AML.resources(resources)))
  }

  private static var hpet: AML.Code {
    AML.device(
      "HPET", AML.named("_HID", AML.eisaID("PNP0103")), AML.named("_UID", AML.number(0)),
      AML.named("_CRS", AML.resources([AML.fixedMemory(0xFED0_0000, length: 0x400, writable: false)])))
  }

  /// A PIRQ wire of the PIIX3 and its route control register: bit 7 switches it off, the low bits name the interrupt.
  private static func link(_ index: Int, _ board: Board) -> AML.Code {
    let register = AML.name("\\_SB.PCI0.ISA." + routeControls[index])
    let field = AML.name("PRRI")
    // What a card on the ISA bus has is not to be had besides, as long as there is another.
    let free = linkInterrupts.filter { irq in !board.ethernet.contains { $0.irq == Int(irq) } }
    let template = AML.resources([AML.interrupts([0])])
    return AML.device(
      links[index], AML.named("_HID", AML.eisaID("PNP0C0F")), AML.named("_UID", AML.number(UInt64(index + 1))),
      AML.named("_PRS", AML.resources([AML.interrupts(free.isEmpty ? linkInterrupts : free)])),
      AML.method(
        "_STA", AML.ifTrue(AML.and(register, AML.number(0x80)), AML.returns(AML.number(0x09))),
        AML.returns(AML.number(0x0B))),
      AML.method("_DIS", AML.or(register, AML.number(0x80), into: register)),
      AML.method(
        "_CRS", serialized: true, AML.named("PRR0", template), AML.doubleWordField(AML.name("PRR0"), at: 5, "PRRI"),
        AML.ifTrue(AML.isLess(register, AML.number(0x80)), AML.store(register, field)), AML.returns(AML.name("PRR0"))),
      AML.method(
        "_SRS", arguments: 1, serialized: true, AML.doubleWordField(AML.argument0, at: 5, "PRRI"),
        AML.store(field, register)))
  }

  private static let routeControls = ["PRQ0", "PRQ1", "PRQ2", "PRQ3"]
}

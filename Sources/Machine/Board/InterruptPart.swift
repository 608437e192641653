import Devices

/// The two 8259s, the I/O APIC, a local APIC for each CPU, and the wires that lead to them.
final class InterruptPart: BoardPart {
  let fabric = InterruptFabric()
  let wires: InterruptWires
  let apics: [LocalAPIC]
  let pic: PIC8259
  let ioapic: IOAPIC

  var devices: [any Device] { [pic, ioapic] + apics + [wires] }

  init(_ bench: Workbench) {
    let pic = PIC8259(ports: bench.ports)
    self.pic = pic
    ioapic = IOAPIC(memory: bench.memory, fabric: fabric)
    wires = InterruptWires(pic: pic, ioapic: ioapic)
    let fabric = fabric
    let apics = (0..<bench.configuration.cpus).map { LocalAPIC(index: $0, fabric: fabric, clock: bench.clock) }
    self.apics = apics
    fabric.mapWindow(bench.memory)
    for apic in apics { apic.acknowledgeExternal = { [unowned pic] in pic.acknowledge() } }
    // INTR reaches the first CPU through LINT0 (MultiProcessor Specification 1.4, 3.6.2.2).
    pic.setOutput = { [unowned first = apics[0]] level in first.setLINT0(level) }
  }
}

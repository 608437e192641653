import Devices
import GuestMemory

/// A kind of device that a setting puts on the board. To add one: its file in Sources/Devices, its setting, and a line in
/// `AddOn.all` (docs/recipes/add-a-device.md).
struct AddOn {
  /// Where a device can be plugged in.
  struct Sockets {
    let bench: Workbench
    let interrupts: InterruptPart
    let pci: PCIBus
  }

  /// Makes the device, or nil where the configuration does not want it.
  let make: @Sendable (MachineConfiguration, Sockets) -> (any Device)?

  static let all: [AddOn] = [
    // Before the debug ports, one of which lies among its own.
    AddOn { $0.debugPorts ? TestDevice(ports: $1.bench.ports, memory: $1.bench.memory, $1.interrupts) : nil },
    AddOn { $0.debugPorts ? DebugPorts(ports: $1.bench.ports, requests: $1.bench.requests) : nil },
    AddOn { $0.pvpanic ? PVPanic(ports: $1.bench.ports, requests: $1.bench.requests) : nil },
    AddOn { $0.virtioEntropy ? VirtioEntropy($1, slot: 27, isSeeded: $0.deterministic) : nil },
    AddOn { $0.testDevice ? PCITestDevice(memory: $1.bench.memory, ports: $1.bench.ports, on: $1.pci, slot: 30) : nil },
  ]
}

extension VirtioEntropy {
  fileprivate convenience init(_ sockets: AddOn.Sockets, slot: Int, isSeeded: Bool) {
    self.init(
      memory: sockets.bench.memory, ports: sockets.bench.ports, clock: sockets.bench.clock,
      fabric: sockets.interrupts.fabric, random: isSeeded ? Self.seeded() : VirtioEntropy.hostRandom)
    sockets.pci.attach(self, slot: slot)
  }
}

extension VirtioEntropy {
  /// The same numbers in each run (SplitMix64, from 0).
  private static func seeded() -> (UnsafeMutableRawBufferPointer) -> Void {
    var state: UInt64 = 0
    return { buffer in
      for index in buffer.indices {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = (state ^ state >> 30) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
        buffer[index] = UInt8(truncatingIfNeeded: word ^ word >> 31)
      }
    }
  }
}

extension TestDevice {
  fileprivate convenience init(ports: PortBus, memory: PhysicalMemory, _ interrupts: InterruptPart) {
    let (wires, ioapic) = (interrupts.wires, interrupts.ioapic)
    self.init(ports: ports, memory: memory) { [unowned wires, unowned ioapic] line, level in
      if line < 16 { wires.setISA(line, level) } else { ioapic.setPin(line, level) }
    }
  }
}

extension PVPanic {
  fileprivate convenience init(ports: PortBus, requests: RequestRelay) {
    self.init(ports: ports) { requests.send(.panic(hasCrashKernel: $0)) }
  }
}

extension DebugPorts {
  fileprivate convenience init(ports: PortBus, requests: RequestRelay) {
    self.init(
      ports: ports, log: { requests.log($0) }, onExit: { requests.send(.exit(Int32($0) << 1 | 1)) })
  }
}

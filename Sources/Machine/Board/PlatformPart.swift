import Devices

/// What is left of the AT: DMA controllers, keyboard controller, reset ports, the coprocessor's error latch.
final class PlatformPart: BoardPart {
  let keyboard: Keyboard8042
  let coprocessorError: CoprocessorErrorLatch
  let dma: DMA8237
  private let reset: ResetPorts
  /// The A20 gate was opened or closed, by either of its two switches.
  var onA20: (Bool) -> Void = { _ in }

  var devices: [any Device] { [dma, keyboard, reset, coprocessorError] }

  init(_ bench: Workbench, _ interrupts: InterruptPart) {
    let (ports, wires, requests) = (bench.ports, interrupts.wires, bench.requests)
    dma = DMA8237(ports: ports, memory: bench.memory)
    keyboard = Keyboard8042(ports: ports, clock: bench.clock, keyboardIRQ: wires.line(1), mouseIRQ: wires.line(12))
    reset = ResetPorts(ports: ports)
    coprocessorError = CoprocessorErrorLatch(ports: ports, irq: wires.line(13))
    reset.onReset = { requests.send(.reset) }
    keyboard.onReset = { requests.send(.reset) }
    keyboard.onA20 = { [unowned self] in
      reset.a20Changed($0)
      onA20($0)
    }
    reset.onA20 = { [unowned self] in
      keyboard.a20Changed($0)
      onA20($0)
    }
  }
}

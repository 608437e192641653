import CHost

/// The inner loop: finds a block, runs its instructions, follows links to the next.
///
/// Instructions that matter for speed have their case here; the others call their family's function. `s.rip` is right
/// at block ends and wherever another wing is called that reads it; elsewhere it is the block's start plus
/// `vm_op.offset`.
extension CPU {
  /// Runs guest code until something in `RunExit` happens. `budget` counts instructions, to within a block.
  public func run(budget: Int) -> RunExit {
    enterGuest()
    defer { leaveGuest() }
    return accelerator == .translator ? runTranslated(budget: budget) : interpret(budget: budget)
  }

  /// The same by interpretation alone.
  func interpret(budget: Int) -> RunExit {
    let s = self.s
    let limit = s.pointee.instructions &+ UInt64(min(max(budget, 0), 1 << 62))
    /// Where the branch just taken keeps its target, once that is found.
    var linkSlot: UnsafeMutablePointer<UnsafeMutablePointer<vm_block>?>?
    var linkGeneration = 0
    var single = false

    outer: while true {
      if single {
        single = false
        finishStep()
      }
      if vm_load_relaxed(&s.pointee.pending) != 0 || Int(s.pointee.activity) != VM_ACTIVE {
        linkSlot = nil
        if let exit = leaveLoop() { return exit }
        single = vm_load_relaxed(&s.pointee.pending) & UInt32(VM_PENDING_DEBUG | VM_PENDING_SHADOW) != 0
      }
      if s.pointee.instructions >= limit && !single { return .budget }

      var blockRip = s.pointee.rip
      var block: UnsafeMutablePointer<vm_block>
      do throws(GuestFault) {
        block = try findBlock(blockRip, single: single)
      } catch {
        // What runs next is not where the branch led.
        linkSlot = nil
        single = false
        deliver(error)
        continue outer
      }
      if let slot = linkSlot {
        if block != code.scratch && code.generation == linkGeneration { slot.pointee = block }
        linkSlot = nil
      }

      var op = block.ops
      do throws(GuestFault) {
        linked: while true {
          s.slots[VM_SLOT_RIP] = blockRip
          s.pointee.instructions &+= UInt64(block.pointee.count)
          op = block.ops
          var taken = true
          steps: while true {
            switch OpKind(trusted: op.pointee.kind) {
            case .leave:
              s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
              uncount(block, op)
              continue outer
            case .fallThrough: break steps
            case .undefined: throw .undefined
            case .tooLong: throw .protection(0)
            case .nop: break
            case .addRR32: s.rr(op, Add.self, UInt32.self)
            case .addRI32: s.ri(op, Add.self, UInt32.self)
            case .addRM32: try rm(op, Add.self, UInt32.self)
            case .addRR32n: s.rr(op, AddQuiet.self, UInt32.self)
            case .addRI32n: s.ri(op, AddQuiet.self, UInt32.self)
            case .addRR64: s.rr(op, Add.self, UInt64.self)
            case .addRI64: s.ri(op, Add.self, UInt64.self)
            case .addRM64: try rm(op, Add.self, UInt64.self)
            case .addRR64n: s.rr(op, AddQuiet.self, UInt64.self)
            case .addRI64n: s.ri(op, AddQuiet.self, UInt64.self)
            case .orRR32: s.rr(op, Or.self, UInt32.self)
            case .orRI32: s.ri(op, Or.self, UInt32.self)
            case .orRM32: try rm(op, Or.self, UInt32.self)
            case .orRR32n: s.rr(op, OrQuiet.self, UInt32.self)
            case .orRI32n: s.ri(op, OrQuiet.self, UInt32.self)
            case .orRR64: s.rr(op, Or.self, UInt64.self)
            case .orRI64: s.ri(op, Or.self, UInt64.self)
            case .orRM64: try rm(op, Or.self, UInt64.self)
            case .orRR64n: s.rr(op, OrQuiet.self, UInt64.self)
            case .orRI64n: s.ri(op, OrQuiet.self, UInt64.self)
            case .andRR32: s.rr(op, And.self, UInt32.self)
            case .andRI32: s.ri(op, And.self, UInt32.self)
            case .andRM32: try rm(op, And.self, UInt32.self)
            case .andRR32n: s.rr(op, AndQuiet.self, UInt32.self)
            case .andRI32n: s.ri(op, AndQuiet.self, UInt32.self)
            case .andRR64: s.rr(op, And.self, UInt64.self)
            case .andRI64: s.ri(op, And.self, UInt64.self)
            case .andRM64: try rm(op, And.self, UInt64.self)
            case .andRR64n: s.rr(op, AndQuiet.self, UInt64.self)
            case .andRI64n: s.ri(op, AndQuiet.self, UInt64.self)
            case .subRR32: s.rr(op, Sub.self, UInt32.self)
            case .subRI32: s.ri(op, Sub.self, UInt32.self)
            case .subRM32: try rm(op, Sub.self, UInt32.self)
            case .subRR32n: s.rr(op, SubQuiet.self, UInt32.self)
            case .subRI32n: s.ri(op, SubQuiet.self, UInt32.self)
            case .subRR64: s.rr(op, Sub.self, UInt64.self)
            case .subRI64: s.ri(op, Sub.self, UInt64.self)
            case .subRM64: try rm(op, Sub.self, UInt64.self)
            case .subRR64n: s.rr(op, SubQuiet.self, UInt64.self)
            case .subRI64n: s.ri(op, SubQuiet.self, UInt64.self)
            case .xorRR32: s.rr(op, Xor.self, UInt32.self)
            case .xorRI32: s.ri(op, Xor.self, UInt32.self)
            case .xorRM32: try rm(op, Xor.self, UInt32.self)
            case .xorRR32n: s.rr(op, XorQuiet.self, UInt32.self)
            case .xorRI32n: s.ri(op, XorQuiet.self, UInt32.self)
            case .xorRR64: s.rr(op, Xor.self, UInt64.self)
            case .xorRI64: s.ri(op, Xor.self, UInt64.self)
            case .xorRM64: try rm(op, Xor.self, UInt64.self)
            case .xorRR64n: s.rr(op, XorQuiet.self, UInt64.self)
            case .xorRI64n: s.ri(op, XorQuiet.self, UInt64.self)
            case .cmpRR32: s.compareRR(op, Sub.self, UInt32.self)
            case .cmpRI32: s.compareRI(op, Sub.self, UInt32.self)
            case .cmpRM32: try compareRM(op, UInt32.self)
            case .cmpMI32: try compareMI(op, Sub.self, UInt32.self)
            case .testRR32: s.compareRR(op, And.self, UInt32.self)
            case .testRI32: s.compareRI(op, And.self, UInt32.self)
            case .testMI32: try compareMI(op, And.self, UInt32.self)
            case .cmpRR64: s.compareRR(op, Sub.self, UInt64.self)
            case .cmpRI64: s.compareRI(op, Sub.self, UInt64.self)
            case .cmpRM64: try compareRM(op, UInt64.self)
            case .cmpMI64: try compareMI(op, Sub.self, UInt64.self)
            case .testRR64: s.compareRR(op, And.self, UInt64.self)
            case .testRI64: s.compareRI(op, And.self, UInt64.self)
            case .testMI64: try compareMI(op, And.self, UInt64.self)
            case .cmpRR8: s.compareRR(op, Sub.self, UInt8.self)
            case .cmpRI8: s.compareRI(op, Sub.self, UInt8.self)
            case .cmpRM8: try compareRM(op, UInt8.self)
            case .cmpMI8: try compareMI(op, Sub.self, UInt8.self)
            case .testRR8: s.compareRR(op, And.self, UInt8.self)
            case .testRI8: s.compareRI(op, And.self, UInt8.self)
            case .testMI8: try compareMI(op, And.self, UInt8.self)
            case .cmpMR32: try compareMR(op, UInt32.self)
            case .cmpMR64: try compareMR(op, UInt64.self)
            case .inc32: s.ri(op, Inc.self, UInt32.self)
            case .inc64: s.ri(op, Inc.self, UInt64.self)
            case .dec32: s.ri(op, Dec.self, UInt32.self)
            case .dec64: s.ri(op, Dec.self, UInt64.self)
            case .zero32:
              s.slots[Int(op.pointee.rm)] = 0
              s.setLazy(0, 0)
            case .alu8: try arithmetic(op, UInt8.self)
            case .alu16: try arithmetic(op, UInt16.self)
            case .alu32: try arithmetic(op, UInt32.self)
            case .alu64: try arithmetic(op, UInt64.self)
            case .test: try executeTest(op)
            case .incdec: try executeIncDec(op)
            case .not: try executeNot(op)
            case .neg: try executeNeg(op)

            case .movRR8: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt8.self))
            case .movRI8: s.set(op.pointee.rm, UInt8(truncatingIfNeeded: op.pointee.imm))
            case .movRM8: s.set(op.pointee.reg, try read(op, UInt8.self))
            case .movMR8: try write(op, s.get(op.pointee.reg, UInt8.self))
            case .movMI8: try write(op, UInt8(truncatingIfNeeded: op.pointee.imm))
            case .movRR16: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt16.self))
            case .movRI16: s.set(op.pointee.rm, UInt16(truncatingIfNeeded: op.pointee.imm))
            case .movRM16: s.set(op.pointee.reg, try read(op, UInt16.self))
            case .movMR16: try write(op, s.get(op.pointee.reg, UInt16.self))
            case .movMI16: try write(op, UInt16(truncatingIfNeeded: op.pointee.imm))
            case .movRR32: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt32.self))
            case .movRI32: s.slots[Int(op.pointee.rm)] = UInt64(bitPattern: op.pointee.imm)
            case .movRM32: s.set(op.pointee.reg, try read(op, UInt32.self))
            case .movMR32: try write(op, s.get(op.pointee.reg, UInt32.self))
            case .movMI32: try write(op, UInt32(truncatingIfNeeded: op.pointee.imm))
            case .movRR64: s.set(op.pointee.rm, s.get(op.pointee.reg, UInt64.self))
            case .movRI64: s.slots[Int(op.pointee.rm)] = UInt64(bitPattern: op.pointee.imm)
            case .movRM64: s.set(op.pointee.reg, try read(op, UInt64.self))
            case .movMR64: try write(op, s.get(op.pointee.reg, UInt64.self))
            case .movMI64: try write(op, UInt64(truncatingIfNeeded: op.pointee.imm))
            case .movzxR8: s.slots[Int(op.pointee.reg)] = UInt64(s.get(op.pointee.rm, UInt8.self))
            case .movzxR16: s.slots[Int(op.pointee.reg)] = UInt64(s.get(op.pointee.rm, UInt16.self))
            case .movzxM8: s.slots[Int(op.pointee.reg)] = UInt64(try read(op, UInt8.self))
            case .movzxM16: s.slots[Int(op.pointee.reg)] = UInt64(try read(op, UInt16.self))
            case .movsxR8: s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(s.get(op.pointee.rm, UInt8.self))))
            case .movsxR16: s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(s.get(op.pointee.rm, UInt16.self))))
            case .movsxM8: s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(try read(op, UInt8.self))))
            case .movsxM16: s.set(op.pointee.reg, UInt32(truncatingIfNeeded: s.wide(try read(op, UInt16.self))))
            case .movsxdR: s.slots[Int(op.pointee.reg)] = s.wide(s.get(op.pointee.rm, UInt32.self))
            case .movsxdM: s.slots[Int(op.pointee.reg)] = s.wide(try read(op, UInt32.self))
            case .extend: try executeExtend(op)
            case .lea64: s.slots[Int(op.pointee.reg)] = effectiveAddress(op)
            case .lea32: s.slots[Int(op.pointee.reg)] = effectiveAddress(op) & 0xffff_ffff
            case .lea16: s.set(op.pointee.reg, UInt16(truncatingIfNeeded: effectiveAddress(op)))
            case .cmov32:
              if s.condition(op.pointee.sub) {
                s.set(op.pointee.reg, s.get(op.pointee.rm, UInt32.self))
              } else {
                s.set(op.pointee.reg, s.get(op.pointee.reg, UInt32.self))
              }
            case .cmov64:
              if s.condition(op.pointee.sub) { s.set(op.pointee.reg, s.get(op.pointee.rm, UInt64.self)) }
            case .cmov: try executeConditionalMove(op)
            case .setccR: s.set(op.pointee.rm, (s.condition(op.pointee.sub) ? 1 : 0) as UInt8)
            case .setccM: try write(op, (s.condition(op.pointee.sub) ? 1 : 0) as UInt8)
            case .cbw: executeWiden(op)
            case .cwd: executeSignSpread(op)
            case .xchg: try executeExchange(op)
            case .xadd: try executeExchangeAdd(op)
            case .cmpxchg: try executeCompareExchange(op)
            case .cmpxchg8b: try executeCompareExchange8(op)
            case .cmpxchg16b: try executeCompareExchange16(op)
            case .bswap: executeByteSwap(op)
            case .movbe: try executeMoveSwapped(op)
            case .xlat: try executeTranslate(op)

            case .push64:
              let top = s.slots[4] &- 8
              try store(top, s.slots[Int(op.pointee.rm)])
              s.slots[4] = top
            case .pop64:
              let value = try load(s.slots[4], as: UInt64.self)
              s.slots[4] = s.slots[4] &+ 8
              s.slots[Int(op.pointee.rm)] = value
            case .pushImmediate64:
              let top = s.slots[4] &- 8
              try store(top, UInt64(bitPattern: op.pointee.imm))
              s.slots[4] = top
            case .push: try executePush(op)
            case .pop: try executePop(op)
            case .pushAll: try executePushAll(op)
            case .popAll: try executePopAll(op)
            case .enter: try executeEnter(op)
            case .leaveFrame: try executeLeave(op)

            case .shlRI32: s.shiftLeft(op, UInt32.self)
            case .shlRI32n: s.shiftLeftQuiet(op, UInt32.self)
            case .shlRI64: s.shiftLeft(op, UInt64.self)
            case .shlRI64n: s.shiftLeftQuiet(op, UInt64.self)
            case .shrRI32: s.shiftRight(op, UInt32.self)
            case .shrRI32n: s.shiftRightQuiet(op, UInt32.self)
            case .shrRI64: s.shiftRight(op, UInt64.self)
            case .shrRI64n: s.shiftRightQuiet(op, UInt64.self)
            case .sarRI32: s.shiftArithmetic(op, UInt32.self)
            case .sarRI32n: s.shiftArithmeticQuiet(op, UInt32.self)
            case .sarRI64: s.shiftArithmetic(op, UInt64.self)
            case .sarRI64n: s.shiftArithmeticQuiet(op, UInt64.self)
            case .shift: try executeShift(op)
            case .doubleShift: try executeDoubleShift(op)
            case .imulRR32: s.multiplySigned(op, s.get(op.pointee.reg, UInt32.self), s.get(op.pointee.rm, UInt32.self))
            case .imulRR64: s.multiplySigned(op, s.get(op.pointee.reg, UInt64.self), s.get(op.pointee.rm, UInt64.self))
            case .imul: try executeSignedMultiply(op)
            case .multiply: try executeMultiply(op)
            case .divide: try executeDivide(op)
            case .bitTest: try executeBitTest(op)
            case .bitScan: try executeBitScan(op)
            case .popcnt: try executePopulationCount(op)
            case .decimal: try executeDecimal(op)
            case .loadFlags: s.set(1, UInt8(truncatingIfNeeded: flagsImage()))
            case .storeFlags: setFlags(UInt64(s.get(1, UInt8.self)), mask: 0xd5)
            case .flag: executeFlag(op)
            case .bound: try executeBound(op)
            case .wait: try executeWait()

            case .jo:
              taken = s.of
              break steps
            case .jno:
              taken = !s.of
              break steps
            case .jb:
              taken = s.cf
              break steps
            case .jae:
              taken = !s.cf
              break steps
            case .je:
              taken = s.zf
              break steps
            case .jne:
              taken = !s.zf
              break steps
            case .jbe:
              taken = s.cf || s.zf
              break steps
            case .ja:
              taken = !(s.cf || s.zf)
              break steps
            case .js:
              taken = s.sf
              break steps
            case .jns:
              taken = !s.sf
              break steps
            case .jp:
              taken = s.pf
              break steps
            case .jnp:
              taken = !s.pf
              break steps
            case .jl:
              taken = s.sf != s.of
              break steps
            case .jge:
              taken = s.sf == s.of
              break steps
            case .jle:
              taken = s.zf || s.sf != s.of
              break steps
            case .jg:
              taken = !(s.zf || s.sf != s.of)
              break steps
            case .jmp: break steps
            case .call64:
              let top = s.slots[4] &- 8
              let next = blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
              try store(top, next)
              s.slots[4] = top
              break steps
            case .call:
              try executeCall(op, blockRip)
              break steps
            case .loop:
              taken = try executeLoop(op, blockRip)
              break steps
            case .jcxz:
              taken = countRegister(op) == 0
              break steps
            case .ret64:
              let target = try load(s.slots[4], as: UInt64.self)
              if !CPU.isCanonical(target) { throw .protection(0) }
              s.slots[4] = s.slots[4] &+ 8
              s.pointee.rip = target
              continue outer
            case .ret:
              s.pointee.rip = try executeReturn(op)
              continue outer
            case .jmpR64:
              let target = s.slots[Int(op.pointee.rm)]
              if !CPU.isCanonical(target) { throw .protection(0) }
              s.pointee.rip = target
              continue outer
            case .callR64:
              let target = s.slots[Int(op.pointee.rm)]
              if !CPU.isCanonical(target) { throw .protection(0) }
              let top = s.slots[4] &- 8
              try store(top, blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length))
              s.slots[4] = top
              s.pointee.rip = target
              continue outer
            case .jmpIndirect:
              s.pointee.rip = try branchTarget(op)
              continue outer
            case .callIndirect:
              s.pointee.rip = try executeCallIndirect(op, blockRip)
              continue outer

            case .movs:
              if try !executeMovs(op) {
                interrupted(block, op, blockRip)
                continue outer
              }
            case .stos:
              if try !executeStos(op) {
                interrupted(block, op, blockRip)
                continue outer
              }
            case .lods:
              if try !executeLods(op) {
                interrupted(block, op, blockRip)
                continue outer
              }
            case .scas:
              if try !executeScas(op) {
                interrupted(block, op, blockRip)
                continue outer
              }
            case .cmps:
              if try !executeCmps(op) {
                interrupted(block, op, blockRip)
                continue outer
              }

            case .x87:
              s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
              try executeX87(UnsafePointer(op))
            case .simd:
              s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
              try executeSIMD(UnsafePointer(op))
            case .system:
              s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
              // What follows STI in its block runs as one of its own.
              uncount(block, op + 1)
              runSystem(op)
              continue outer
            }
            op += 1
          }

          // A direct branch, or the end of a block for want of room.
          let links = UnsafeMutableRawPointer(op + 1).assumingMemoryBound(to: vm_links.self)
          let slots = UnsafeMutableRawPointer(links).assumingMemoryBound(to: UnsafeMutablePointer<vm_block>?.self)
          let slot = taken ? slots : slots + 1
          var target = blockRip &+ UInt64(op.pointee.offset) &+ UInt64(op.pointee.length)
          if taken {
            target = (blockRip &+ UInt64(bitPattern: op.pointee.imm)) & UInt64(bitPattern: op.pointee.disp)
          }
          if let next = slot.pointee, next.pointee.dead == 0, vm_load_relaxed(&s.pointee.pending) == 0,
            s.pointee.instructions < limit
          {
            block = next
            blockRip = target
            continue linked
          }
          if isCode32(s.pointee.mode) {
            target &= 0xffff_ffff
            if taken && !isFlatCode { try checkTarget(target) }
          }
          s.pointee.rip = target
          if (target ^ blockRip) &>> 12 == 0 && mayLink(op, s.pointee.mode) {
            linkSlot = slot
            linkGeneration = code.generation
          }
          continue outer
        }
      } catch {
        s.pointee.rip = blockRip &+ UInt64(op.pointee.offset)
        uncount(block, op)
        single = false
        deliver(atStack(error, op))
      }
    }
  }
}
